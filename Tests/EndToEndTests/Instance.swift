import Attachments
import Foundation
import GRDB
import LinuxIO
import Synchronization
import TestKit
import Testing

/// An instance of the engine of a test's own, driven by the real command as a user would.
final class Instance: Sendable {
  typealias Outcome = Program.Outcome

  let scratch: Scratch
  /// Commands run as this user, if it is not the test's own.
  private let prefix: [String]

  /// Makes an instance; `prefix` is a program that runs the command: `unshare -m sh -c …`.
  init(prefix: [String] = []) throws {
    scratch = try Scratch()
    self.prefix = prefix
  }

  deinit {
    // A test that failed half-way leaves devices; those of a test that passed are gone already.
    let left = (try? attachments()) ?? []
    for info in left { _ = try? ashlar("detach", "--id=\(info.id)", "--force") }
    _ = try? ashlar("daemon", "stop")
  }

  var root: String { scratch("root") }
  var run: String { scratch("run") }

  /// Where the programs are: beside the test's own build.
  static let programs: String = {
    if let path = ProcessInfo.processInfo.environment["ASHLAR_BIN"] { return path }
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return own.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
  }()

  static var command: String { "\(programs)/ashlar" }

  /// Runs the command.
  @discardableResult
  func ashlar(_ arguments: String...) throws -> Outcome { try ashlar(arguments) }

  /// Runs the command.
  func ashlar(_ arguments: [String], directory: String = "/") throws -> Outcome {
    try Program.run(
      prefix + [Self.command] + arguments, directory: directory,
      environment: ["ASHLAR_ROOT": root, "ASHLAR_RUN": run])
  }

  /// Runs a shell script with `ashlar` in its path, speaking to this instance.
  func shell(_ script: String, seconds: Int = 120) throws -> Outcome {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return try Program.run(
      prefix + ["bash", "-c", script], seconds: seconds,
      environment: [
        "ASHLAR_ROOT": root, "ASHLAR_RUN": run, "PATH": "\(scratch("bin")):\(Self.programs):\(path)",
      ])
  }

  /// Attaches an image and returns the device's path.
  func attach(_ id: String, _ image: String, _ options: String...) throws -> String {
    let outcome = try ashlar(["attach", "--id", id, image] + options)
    try #require(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.line.hasPrefix("/dev/loop"))
    return outcome.line
  }

  func detach(_ id: String, _ options: String...) throws {
    let outcome = try ashlar(["detach", "--id", id] + options)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  /// What is attached, by the daemon's own account.
  func attachments() throws -> [AttachmentInfo] {
    let outcome = try ashlar("ls", "--json")
    try #require(outcome.status == 0, "\(outcome.errors)")
    return try JSONDecoder().decode([AttachmentInfo].self, from: Data(outcome.output.utf8))
  }

  func inspect(_ id: String) throws -> AttachmentInfo {
    let outcome = try ashlar("inspect", id, "--json")
    try #require(outcome.status == 0, "\(outcome.errors)")
    return try JSONDecoder().decode(AttachmentInfo.self, from: Data(outcome.output.utf8))
  }

  /// `inspect` for an ID that looks like an option.
  func inspectRaw(_ id: String) throws -> Outcome { try ashlar("inspect", "--json", "--", id) }

  /// Copies the programs to where every user finds them; ``shell(_:seconds:)`` prefers those.
  func copyPrograms() throws {
    let directory = scratch("bin")
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    for name in ["ashlar", "ashlard"] {
      try FileManager.default.copyItem(atPath: "\(Self.programs)/\(name)", toPath: "\(directory)/\(name)")
    }
  }

  /// Changes the journal, which no manager must have open.
  func execute(_ statement: String) throws {
    try DatabaseQueue(path: "\(root)/journal.sqlite").write { try $0.execute(sql: statement) }
  }

  /// The manager's process, which is started if none runs.
  func managerPid() throws -> Int32 {
    _ = try ashlar("ls")
    let outcome = try ashlar("daemon", "status", "--json")
    try #require(outcome.status == 0, "\(outcome.errors)")
    return try JSONDecoder().decode(ManagerStatus.self, from: Data(outcome.output.utf8)).pid
  }

  /// Everything of this instance that is left on the host: loop devices, processes, sockets, links, rows.
  func remains() throws -> [String] {
    var remains = loops().map { "\($0)" }
    for name in ["servers", "dev"] {
      remains += SmallFile.entries("\(run)/\(name)").map { "\(name)/\($0)" }
    }
    remains += serverPids().map { "data server \($0)" }
    remains += try attachments().map { "row \($0.id)" }
    return remains
  }

  /// Expects that nothing of this instance is left on the host.
  func expectNothingLeft(_ location: SourceLocation = #_sourceLocation) throws {
    let remains = try remains()
    #expect(remains == [], "\(remains)", sourceLocation: location)
  }

  /// The loop devices over our files, but for those of other instances at work on this host.
  private func loops() -> [String] {
    let foreign = Self.servers().filter { $0.value != run }.values.flatMap {
      SmallFile.entries("\($0)/servers")
    }
    return BlockDevice.names(withPrefix: "loop").compactMap { loop in
      guard let file = BlockDevice.attribute("loop/backing_file", of: loop), file.hasPrefix("/ashlar-"),
        !file.dropFirst().contains("/"),
        !foreign.contains(where: { file.contains($0.replacing(".sock", with: "")) })
      else { return nil }
      return "\(loop) over \(file)"
    }
  }

  /// The data servers that run for this instance.
  func serverPids() -> [Int32] { Self.servers().filter { $0.value == run }.map(\.key) }

  /// All data servers that run on this host, with their instance's run directory.
  private static func servers() -> [Int32: String] {
    var servers: [Int32: String] = [:]
    for pid in SmallFile.entries("/proc").compactMap(Int32.init) {
      guard SmallFile.text("/proc/\(pid)/cmdline")?.contains("ashlard\0serve") == true else { continue }
      let variables = (SmallFile.text("/proc/\(pid)/environ") ?? "").split(separator: "\0")
      let run = variables.first { $0.hasPrefix("ASHLAR_RUN=") }?.dropFirst("ASHLAR_RUN=".count)
      servers[pid] = run.map(String.init) ?? "/run/ashlar"
    }
    return servers
  }

  /// The SHA-256 of a device, read past the page cache.
  static func sha256(ofDevice path: String) throws -> String {
    let outcome = try Program.run(["sh", "-c", "dd if=\(path) bs=1M iflag=direct status=none | sha256sum"])
    try #require(outcome.status == 0, "\(outcome.errors)")
    return String(outcome.output.prefix(64))
  }
}
