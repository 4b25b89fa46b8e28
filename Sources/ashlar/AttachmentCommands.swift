import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Images
import LinuxIO

/// `ashlar attach`.
struct AttachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach", abstract: "Make a block device of an image, and print its path.")

  @OptionGroup var instance: InstanceOptions

  @Option(help: "What to call it: 1 to 64 bytes without slashes, spaces and control characters.")
  var id: String

  @Option(help: ArgumentHelp("The overlaybd image's configuration.", valueName: "config.v1.json"))
  var config: String?

  @Argument(help: "The image: PATH, overlaybd:PATH, raw:PATH or raw-bytes:PATH.")
  var image: String?

  @Option(
    help: "How the device is made: \(TransportChoice.allCases.map(\.rawValue).joined(separator: ", ")).")
  var transport = TransportChoice.auto.rawValue

  @Flag(help: "Refuse writes.")
  var readOnly = false

  @Flag(
    help: ArgumentHelp(
      "Write although others may do so, too: the disk is mounted, or a loop device shows it.",
      discussion: "For those who know that all of them take turns, as cluster file systems do."))
  var shared = false

  @Option(
    help: ArgumentHelp(
      "Who serves an overlaybd image over tcmu: \(BackstoreChoice.allCases.map(\.rawValue).joined(separator: ", ")).",
      discussion: "auto is another process of this host, if one runs that serves overlaybd images."))
  var backstore = BackstoreChoice.auto.rawValue

  @Flag(name: .customLong("with-devid"), help: "End the backstore's configuration with the ID, for tcmu.")
  var withDevID = false

  @Flag(help: "Print everything about the device as JSON.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say more on standard error.")
  var verbose = false

  func validate() throws {
    if shared && readOnly { throw ValidationError("--shared is for writing, and --read-only against it.") }
    if (config == nil) == (image == nil) { throw ValidationError("Name one image: --config FILE, or IMAGE.") }
  }

  func run() async throws {
    // Checked here too, so that a wrong ID does not start a daemon.
    let isForTCMU = transport == TransportChoice.tcmu.rawValue
    let id = try AttachmentID(
      id, atMost: isForTCMU ? Limits.targetIDBytes : Limits.attachmentIDBytes)
    let reference: ImageReference
    if let config {
      reference = ImageReference(.overlaybd, try ProgramText.absolute(config), relativeTo: "/")
    } else {
      reference = try ImageReference(image ?? "", relativeTo: try ProgramText.workingDirectory())
    }
    var request = AttachRequest(
      id: id.text, image: "\(reference)", transport: transport, readOnly: readOnly)
    request.shared = shared ? true : nil
    request.backstore = backstore
    request.withDevID = withDevID
    let info = try await Self.attach(request, reference, instance)
    for notice in info.notices { Output.note("ashlar: note: \(notice)") }
    // What is attached already may have failed since.
    if let problem = info.problem { Output.note("ashlar: \(info.id): \(problem)") }
    if verbose {
      Output.note(
        "ashlar: \(info.id) is \(info.device ?? "?"), \(Output.size(info.size)), served by process "
          + "\(info.server?.pid ?? 0), also as \(info.link ?? "?")")
    }
    if json { try Output.json(info) } else { Output.line(info.device ?? "") }
  }
}

extension AttachCommand {
  /// Has the manager attach an image.
  ///
  /// - Parameter onRefusal: Called with the manager's answer if it does not.
  static func attach(
    _ request: AttachRequest, _ reference: ImageReference, _ instance: InstanceOptions,
    onRefusal: (ErrorReply) -> Void = { _ in }
  ) async throws(BlockError) -> AttachmentInfo {
    // A missing driver or file is seen here, too, so that it does not start a daemon, which would say the same. If one
    // runs, it is left to it: a disk that does not answer would hold us up without an end.
    if try !Daemon(instance).isRunning {
      try HostSupport.require(request.transport.flatMap(TransportChoice.init) ?? .auto)
      try await InstanceOptions.looks.look(
        at: reference.path, step: "attach", object: request.id, within: Limits.lookTime
      ) { () async throws(BlockError) in
        // Who has opened a device that does not answer cannot end; the manager may wait for it.
        guard !LinuxFileSystem.isBlockDevice(reference.path) else { return }
        _ = try await reference.identity(in: HostServices.linux.files)
      }
    }
    return try await instance.withManager { client async throws(BlockError) in
      try await instance.checkIsSameFile([reference.path], "attach", client)
      return try await client.call(.post, "/v1/attachments", body: request, onRefusal: onRefusal)
    }
  }
}

/// `ashlar detach`.
struct DetachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "detach", abstract: "Take a block device apart.")

  @OptionGroup var instance: InstanceOptions

  @Option(help: "What it is called.")
  var id: String

  @Flag(help: "Go ahead although somebody uses the device; it goes when the last of them is done.")
  var force = false

  @Flag(help: "Print what came of it as JSON.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say more on standard error.")
  var verbose = false

  func run() async throws {
    let id = try AttachmentID(id)
    let reply = try await Self.detach(id, force: force, instance)
    if let problem = reply.problem { Output.note("ashlar: \(id): \(problem)") }
    if !reply.gone { Output.note("ashlar: \(id) is still in use and goes when its last user is done") }
    if verbose && reply.gone { Output.note("ashlar: \(id) is gone") }
    if json { try Output.json(reply) }
  }
}

extension DetachCommand {
  /// Has the manager detach.
  static func detach(
    _ id: AttachmentID, force: Bool, _ instance: InstanceOptions
  ) async throws(BlockError) -> DetachReply {
    try await instance.withManager { client async throws(BlockError) in
      try await client.call(.delete, "/v1/attachments/\(id.escapedInURL)\(force ? "?force=true" : "")")
    }
  }
}

/// `ashlar ls`.
struct ListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "ls", abstract: "List what is attached.")

  @OptionGroup var instance: InstanceOptions

  @Flag(help: "Print an array of JSON objects.")
  var json = false

  func run() async throws {
    let infos: [AttachmentInfo] = try await instance.withManager { client async throws(BlockError) in
      try await client.call(.get, "/v1/attachments")
    }
    if json { return try Output.json(infos) }
    let rows = infos.map { info in
      [
        info.id.text, info.device ?? "-", info.state.rawValue, info.shownSize, info.shownMode,
        info.transport, info.mounts.isEmpty ? "-" : info.mounts.map(\.directory).joined(separator: ","),
        info.image,
      ]
    }
    Output.table(["ID", "DEVICE", "STATE", "SIZE", "MODE", "TRANSPORT", "MOUNTED", "IMAGE"], rows)
    for info in infos { if let problem = info.problem { Output.note("ashlar: \(info.id): \(problem)") } }
  }
}

/// `ashlar inspect`.
struct InspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Tell everything about one attachment.")

  @OptionGroup var instance: InstanceOptions

  @Argument(help: "What it is called.")
  var id: String

  @Flag(help: "Print one JSON object.")
  var json = false

  func run() async throws {
    let id = try AttachmentID(id)
    let info: AttachmentInfo = try await instance.withManager { client async throws(BlockError) in
      try await client.call(.get, "/v1/attachments/\(id.escapedInURL)")
    }
    if json { return try Output.json(info) }
    var lines: [(String, String)] = [
      ("id", info.id.text), ("state", info.state.rawValue), ("device", info.device ?? "-"),
      ("link", info.link ?? "-"),
      ("size", info.hasSize ? "\(Output.size(info.size)) (\(info.size) bytes)" : "-"),
      ("mode", info.hasSize ? (info.readOnly ? "read-only" : "read-write") : "-"), ("image", info.image),
      ("format", info.shownFormat), ("transport", info.transport),
      ("server", info.server.map { "process \($0.pid)" } ?? "-"),
    ]
    for mount in info.mounts { lines.append(("mounted", "\(mount.directory) (\(mount.type))")) }
    if let requests = info.requests {
      lines += [
        ("reads", "\(requests.reads) (\(Output.size(requests.readBytes)))"),
        ("writes", "\(requests.writes) (\(Output.size(requests.writtenBytes)))"),
        ("flushes", "\(requests.flushes)"), ("discards", "\(requests.discards)"),
        ("waited", "\(requests.waited), for a disk"), ("failed", "\(requests.failed)"),
      ]
    }
    if let problem = info.problem { lines.append(("problem", problem)) }
    for notice in info.notices { lines.append(("note", notice)) }
    let width = lines.map(\.0.count).max() ?? 0
    for (key, value) in lines {
      Output.line(key + String(repeating: " ", count: width - key.count + 2) + value)
    }
  }
}

extension AttachmentInfo {
  /// Whether its size and mode are known: not before its image was opened.
  fileprivate var hasSize: Bool { size > 0 }
  fileprivate var shownSize: String { hasSize ? Output.size(size) : "-" }
  fileprivate var shownFormat: String {
    switch layers {
    case 0: format ?? "-"
    case 1: "\(format ?? "-"), 1 layer"
    default: "\(format ?? "-"), \(layers) layers"
    }
  }
  fileprivate var shownMode: String { hasSize ? (readOnly ? "ro" : "rw") : "-" }
}
