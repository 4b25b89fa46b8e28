import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Glibc
import LinuxIO

/// Which instance of the engine a command speaks to.
struct InstanceOptions: ParsableArguments {
  @Option(help: "Where the journal is kept (ASHLAR_ROOT; /var/lib/ashlar).")
  var root: String?

  @Option(name: .customLong("run"), help: "Where sockets and links are kept (ASHLAR_RUN; /run/ashlar).")
  var runDirectory: String?

  /// With how many managers in a row a command tries it.
  private static let attempts = 4

  /// Its directories.
  var directories: EngineDirectories {
    EngineDirectories(
      root: root, run: runDirectory, environment: ProcessInfo.processInfo.environment,
      workingDirectory: FileManager.default.currentDirectoryPath)
  }

  /// Runs a body with a client of the instance's manager, which is started if none runs.
  ///
  /// If the manager goes away meanwhile, everything is tried again with the next one: what is asked of a
  /// manager may be asked again.
  func withManager<Reply>(
    _ body: (APIClient) async throws(BlockError) -> Reply
  ) async throws(BlockError) -> Reply {
    let daemon = Daemon(directories)
    var attempt = 1
    while true {
      do throws(BlockError) {
        return try await body(try await daemon.client())
      } catch  where error.kind == .disconnected && attempt < Self.attempts {
        attempt += 1
      }
    }
  }
}

/// The manager as a process: whether it runs, and how it is started.
struct Daemon: Sendable {
  /// How long a manager that a command has started stays with nothing attached.
  static let idleSeconds = 10
  /// How long a manager may take until it answers.
  private static let startDeadline = Duration.seconds(20)

  private let directories: EngineDirectories
  private let clock = LinuxClock()

  init(_ directories: EngineDirectories) {
    self.directories = directories
  }

  /// Whether a manager listens.
  ///
  /// - Throws: `permissionDenied` if the caller may not speak to it.
  var isRunning: Bool {
    get throws(BlockError) { try UnixStream.isListening(at: directories.apiSocket) }
  }

  /// A client of the manager that runs, or of one that is started for it.
  func client() async throws(BlockError) -> APIClient {
    if try !isRunning { try await start(idleExit: Self.idleSeconds) }
    return APIClient(socket: directories.apiSocket)
  }

  /// Starts a manager and waits until it answers.
  ///
  /// - Parameters:
  ///   - idleExit: After how many seconds with nothing attached it ends; 0 for never.
  ///   - options: More options of the manager's.
  func start(idleExit: Int, options: [String] = []) async throws(BlockError) {
    try directories.make()
    let end = clock.now + Self.startDeadline
    var patience = Duration.milliseconds(100)
    while true {
      do throws(BlockError) {
        return try await launch(idleExit: idleExit, options, until: end)
      } catch  where error.kind == .busy && clock.now < end {
        // Another one was there before; either it answers soon, or it was about to end. Many who all start one
        // again and again would keep that one from getting ready.
        if try await answers(within: patience) { return }
        patience = min(patience * 2, .seconds(2))
      }
    }
  }

  private func answers(within patience: Duration) async throws(BlockError) -> Bool {
    let end = clock.now + patience
    while clock.now < end {
      try await clock.pause(for: .milliseconds(20))
      if try isRunning { return true }
    }
    return false
  }

  private func launch(idleExit: Int, _ options: [String], until end: Duration) async throws(BlockError) {
    let log = try Descriptor.open(
      directories.log, O_WRONLY | O_CREAT | O_APPEND, mode: 0o600, step: "open the log")
    let null = try Descriptor.open("/dev/null", O_RDONLY)
    let report = try StartReport()
    let pid = try ChildProcess.start(
      .init(
        program: try program,
        arguments: [
          "manage", "--root", directories.root, "--run", directories.run, "--idle-exit", "\(idleExit)",
          "--report", "3",
        ] + options,
        descriptors: [0: null.raw, 1: log.raw, 2: log.raw, 3: report.programsEnd]))
    while try !isRunning {
      if waitpid(pid, nil, WNOHANG) != 0 { throw failure("it ended at once", report.text()) }
      guard clock.now < end else { throw failure("it did not answer within \(Self.startDeadline)") }
      try await clock.pause(for: .milliseconds(5))
    }
  }

  private func failure(_ cause: String, _ report: [UInt8] = []) -> BlockError {
    if !report.isEmpty, let said = try? decodeMessage(ErrorReply.self, report) {
      return said.error.error
    }
    let lines = SmallFile.text(directories.log)?.split(separator: "\n") ?? []
    let said = lines.last.map { "; its log ends with: \($0)" } ?? ""
    return BlockError(
      .unavailable, step: "start", object: "the manager", cause: "\(cause)\(said)",
      remedy: "Look into \(directories.log).")
  }

  /// The daemon's program: beside the command, or in the search path.
  private var program: String {
    get throws(BlockError) {
      let own = try LinuxFileSystem().resolve("/proc/self/exe")
      let beside = (own.lastIndex(of: "/").map { own[...$0] } ?? "") + "ashlard"
      if access(String(beside), X_OK) == 0 { return String(beside) }
      let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin"
      for directory in path.split(separator: ":") where access("\(directory)/ashlard", X_OK) == 0 {
        return "\(directory)/ashlard"
      }
      throw BlockError(
        .notFound, step: "start", object: "the manager",
        cause: "the program ashlard is neither beside \(own) nor in PATH", remedy: "Install it: make install."
      )
    }
  }
}
