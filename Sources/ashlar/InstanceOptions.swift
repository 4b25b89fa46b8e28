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

  @Option(
    help: ArgumentHelp(
      "After how long a manager that does not answer is given up (ASHLAR_TIMEOUT; 10).", valueName: "seconds")
  )
  var timeout: UInt16?

  func validate() throws {
    if let refusal = EngineDirectories.refusal(root: root, run: runDirectory) {
      throw ValidationError(refusal)
    }
  }

  /// How long a manager may take to answer, if nobody says.
  private static let usualTimeout: UInt16 = 10

  /// After what time a manager that does not answer is given up.
  var patience: Duration {
    let named = ProcessInfo.processInfo.environment["ASHLAR_TIMEOUT"].flatMap { UInt16($0) }
    return .seconds(timeout ?? named ?? Self.usualTimeout)
  }

  /// With how many managers in a row a command tries it.
  private static let attempts = 4
  /// How long it tries it with one that goes on, and closes the connection: to that a caller who has no processor for so
  /// long looks like one who says nothing.
  private static let retryTime = Duration.seconds(120)

  /// Its directories.
  var directories: EngineDirectories {
    EngineDirectories(
      root: root, run: runDirectory, environment: ProcessInfo.processInfo.environment,
      workingDirectory: FileManager.default.currentDirectoryPath)
  }

  /// Whether the caller has said where the journal is.
  var isRootNamed: Bool {
    root != nil || ProcessInfo.processInfo.environment["ASHLAR_ROOT"].map { !$0.isEmpty } ?? false
  }

  /// Runs a body with a client of the instance's manager, which is started if none runs.
  ///
  /// If the manager goes away meanwhile, everything is tried again with the next one: what is asked of a
  /// manager may be asked again.
  func withManager<Reply>(
    _ body: (APIClient) async throws(BlockError) -> Reply
  ) async throws(BlockError) -> Reply {
    let daemon = Daemon(self)
    let clock = LinuxClock()
    let end = clock.now + Self.retryTime
    var attempt = 1
    while true {
      let before = daemon.holder
      do throws(BlockError) {
        return try await body(try await daemon.client())
      } catch  where error.kind == .disconnected {
        let isSameManager = before != nil && daemon.holder == before && clock.now < end
        guard isSameManager || attempt < Self.attempts else { throw error }
        if isSameManager { try await clock.pause(for: .milliseconds(50)) } else { attempt += 1 }
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
  private let timeout: Duration
  private let isRootNamed: Bool
  private let clock = LinuxClock()

  /// The manager of the instance that options name.
  init(_ instance: InstanceOptions) {
    directories = instance.directories
    timeout = instance.patience
    isRootNamed = instance.isRootNamed
  }

  /// A client of the manager, whether one runs or not.
  ///
  /// If the caller has named a root, a manager that has another one refuses with `conflict` what it is asked.
  var unstarted: APIClient { APIClient(directories, timeout: timeout, checksRoot: isRootNamed) }

  /// The process that is the manager, whether it can be spoken to or not, as far as the lock's file says.
  var holder: ProcessIdentity? { FileLock.holder(of: directories.lock)?.process }

  /// Whether a manager listens.
  ///
  /// - Throws: `permissionDenied` if the caller may not speak to it; `invalidArgument` if none can listen there.
  var isRunning: Bool {
    get throws(BlockError) {
      try directories.checkLength()
      // The kernel may keep the socket of one that has ended. Whoever connects to it waits for nobody, and takes one of the
      // places of those who may wait there.
      if let last = FileLock.lastNote(of: directories.lock), ProcessIdentity.isOnlyLeft(last.pid) {
        return false
      }
      return try UnixStream.isListening(at: directories.apiSocket)
    }
  }

  /// A client of the manager that runs, or of one that is started for it; as ``unstarted``.
  func client() async throws(BlockError) -> APIClient {
    if try !isRunning { try await start(idleExit: Self.idleSeconds) }
    return unstarted
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
      // One that holds the lock is about to listen, or to end; it listens anew when its socket was removed. Another one
      // could do nothing but end.
      while let holder = self.holder {
        if try await answers(within: .milliseconds(100)) { return }
        guard clock.now < end, !holder.isStopped else { throw Self.unreachable(holder, directories) }
      }
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

  /// What is to be said of a manager that holds the lock and does not listen.
  static func unreachable(_ holder: ProcessIdentity, _ directories: EngineDirectories) -> BlockError {
    BlockError(
      .timedOut, step: "speak to", object: "the manager (process \(holder.pid))",
      cause: "it does not listen at \(directories.apiSocket)\(holder.isStopped ? ": it is stopped" : "")",
      remedy: "End it: ashlar daemon stop --force. Devices stay, and the next command starts another one.")
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
    // A FIFO that nobody reads from is an error.
    let log = try Descriptor.open(
      directories.log, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, mode: 0o600, step: "open the log")
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
    let said =
      ManagerLog.reason(in: SmallFile.text(directories.log) ?? "").map { "; its log ends with: \($0)" } ?? ""
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
