import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Images
import LinuxIO
import SystemPackage
import UnixSignals

/// Which sandbox a command is about.
struct SandboxOptions: ParsableArguments {
  @OptionGroup var instance: InstanceOptions

  @Argument(help: "What it is called.")
  var name: String

  @Flag(help: "Print JSON.")
  var json = false

  /// Asks the manager for something about it.
  func call<Reply: Decodable & Sendable>(
    _ method: APIClient.Method, _ path: String, _ body: SandboxTarget? = nil
  ) async throws(BlockError) -> Reply {
    let name = try AttachmentID(self.name).escapedInURL
    return try await instance.withManager { client async throws(BlockError) in
      try await client.call(method, "/v1/sandboxes/\(name)\(path)", body: body)
    }
  }

  /// Prints the device of one that runs.
  static func show(_ info: SandboxInfo, _ json: Bool) throws(BlockError) {
    if let problem = info.problem { Output.note("ashlar: \(info.name): \(problem)") }
    if json { try Output.json(info) } else { Output.line(info.device ?? "") }
  }

  /// Prints everything about one.
  func report(_ info: SandboxInfo) throws(BlockError) {
    if json { return try Output.json(info) }
    Output.line("name    \(info.name)")
    Output.line("state   \(info.state.rawValue)")
    Output.line("device  \(info.device ?? "-")")
    Output.line("size    \(Output.size(info.size)) (\(info.size) bytes)")
    Output.line("base    \(info.base.path) (sha256:\(info.base.sha256))")
    Output.line("store   \(info.store.path) (\(info.store.driver.rawValue))")
    Output.line(
      "changes \(info.store.allocated.map(Output.size) ?? "?")\(info.store.percent.map { ", \($0) % of the store" } ?? "")"
        + "\(info.store.quota.map { ", quota \(Output.size($0))" } ?? "")")
    if let problem = info.problem { Output.line("problem \(problem)") }
  }

  /// Reads a size as a user writes it: bytes, or with K, M, G or T in powers of 1024.
  static func bytes(_ text: String) throws(BlockError) -> UInt64 {
    let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
    let unit = text.last.flatMap { units[$0] }
    let digits = unit == nil ? text[...] : text.dropLast()
    guard digits.allSatisfy(\.isASCII), let number = UInt64(digits) else {
      throw BlockError(
        .invalidArgument, step: "use the size", object: text, cause: "it is no number of bytes",
        remedy: "Write 4096, 512M or 20G.")
    }
    let (product, isTooLarge) = number.multipliedReportingOverflow(by: unit ?? 1)
    guard !isTooLarge else {
      throw BlockError(.outOfRange, step: "use the size", object: text, cause: "it is too large")
    }
    return product
  }

  /// Reads the name of a driver.
  static func driver(_ text: String) throws(BlockError) -> SandboxDriver {
    guard let driver = SandboxDriver.allCases.first(where: { $0.rawValue == text }) else {
      throw BlockError(
        .invalidArgument, step: "use the driver", object: text, cause: "there is none of that name",
        remedy: "Known are \(SandboxDriver.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    return driver
  }
}

extension SandboxCommand {
  /// `ashlar sandbox flatten`.
  struct Flatten: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "flatten", abstract: "Write all of a sandbox's disk to a new raw file.",
      discussion: "Ctrl-C calls it off; there is no new file then.")

    @OptionGroup var options: SandboxOptions

    @Argument(help: "The new file.")
    var file: String

    @Flag(help: "Replace a file that is there.")
    var force = false

    func run() async throws {
      let path = try ProgramText.absolute(file)
      let body = SandboxTarget(target: path, replace: force)
      let options = self.options
      let reply: FlattenReply = try await ProgressBar("flatten").show { progress async throws(BlockError) in
        let watcher = Task { await Self.follow(options, progress) }
        let breaker = Task {
          for await _ in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
            let _: SandboxGone = try await options.call(.delete, "/work")
          }
        }
        defer {
          watcher.cancel()
          breaker.cancel()
        }
        try await options.instance.withManager { client async throws(BlockError) in
          // The file is new; its directory is not.
          let directory = FilePath(path).removingLastComponent().string
          try await options.instance.checkIsSameFile([directory, path], "flatten to", client)
        }
        return try await options.call(.post, "/flatten", body)
      }
      if options.json { return try Output.json(reply) }
      Output.line("\(path): \(Output.size(reply.size)), \(Output.size(reply.written)) written")
    }

    /// Asks the manager now and then how far it has come.
    private static func follow(_ options: SandboxOptions, _ progress: Progress) async {
      var last = (done: UInt64(0), total: UInt64(0))
      while (try? await LinuxClock().sleep(for: .milliseconds(300))) != nil {
        guard let info: SandboxInfo = try? await options.call(.get, ""), let work = info.work else {
          continue
        }
        progress.expect(work.total - min(last.total, work.total))
        progress.advance(by: work.done - min(last.done, work.done))
        last = (work.done, work.total)
      }
    }
  }
}
