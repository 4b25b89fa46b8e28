import ArgumentParser
import Attachments
import BlockCore
import ControlAPI
import Engine
import FoundationEssentials
import Glibc
import LinuxIO
import Logging
import Sandboxes
import ServiceLifecycle
import TCMUService
import UnixSignals
import Volumes

/// Runs the manager.
struct ManageCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "manage", abstract: "Run the manager (the default).")

  @Option(help: "Where the journal is kept (ASHLAR_ROOT; /var/lib/ashlar).")
  var root: String?

  @Option(name: .customLong("run"), help: "Where sockets and links are kept (ASHLAR_RUN; /run/ashlar).")
  var runDirectory: String?

  @Option(help: "End after so many seconds with nothing attached; 0 for never.")
  var idleExit = 0

  @OptionGroup var backstores: BackstoreOptions

  @Flag(help: "Put a damaged journal aside and begin a new one; see ashlar daemon recover.")
  var recover = false

  @Option(help: .hidden)
  var report: Int32?

  @Option(help: .hidden)
  var lock: Int32?

  @Option(help: .hidden)
  var sandboxFaultFile: String?

  @Option(help: .hidden)
  var attachmentFaultFile: String?

  @Flag(name: .shortAndLong, help: "Log more.")
  var verbose = false

  func validate() throws {
    if let refusal = EngineDirectories.refusal(root: root, run: runDirectory) {
      throw ValidationError(refusal)
    }
  }

  func run() async throws {
    let log = Ashlard.logger("ashlard", isVerbose: verbose)
    let openFiles = prepareProcess(log)
    let directories = EngineDirectories(
      root: root, run: runDirectory, environment: ProcessInfo.processInfo.environment,
      workingDirectory: FileManager.default.currentDirectoryPath)
    let manager: Manager
    let sandboxes: Sandboxes
    let program: String
    do throws(BlockError) {
      try Self.check(openFiles)
      // Where the next release will stand, too; what we run may be removed by then.
      program = try LinuxFileSystem().resolve("/proc/self/exe")
      (manager, sandboxes) = try await start(program, directories, log)
      try await sandboxes.recover()
    } catch {
      if let report { try StartReport.write(try encodeMessage(ErrorReply(error)), to: report) }
      throw Ashlard.fail(error, log)
    }
    if let report { close(report) }
    log.notice("manager \(Release.version) of \(directories.run) runs as process \(getpid())")

    tellServiceManager("\(await manager.attachmentCount) devices", log)
    let volumes = Volumes(clock: LinuxClock())
    let (stop, keep, restart) = (Wish(), Wish(), Wish())
    let startedAt = Date().timeIntervalSince1970
    let checks = SocketChecks()
    let api = APIServer(
      manager, sandboxes, volumes, .linux, root: directories.root,
      status: { count in
        ManagerStatus(
          version: Release.version, pid: getpid(), attachments: count, startedAt: startedAt,
          root: directories.root, run: directories.run)
      },
      onShutdown: { stop.raise() },
      onKeep: {
        keep.raise()
        Task { await self.noteStay(manager, log) }
      },
      onRestart: { () async throws(BlockError) in
        try await Self.checkSuccessor(program, manager, sandboxes)
        restart.raise()
        stop.raise()
      })
    var quiet = Logger(label: "ashlard api", factory: { StreamLogHandler.standardError(label: $0) })
    quiet.logLevel = .warning
    let end: @Sendable () async -> Void = {
      await self.end(
        manager, sandboxes, directories, program: restart.isRaised ? program : nil, staying: keep.isRaised,
        log)
    }
    watchRun(manager, directories, checks, log)
    let group = ServiceGroup(
      configuration: .init(
        services: [
          .init(
            service: api.service(
              socket: directories.apiSocket, checks: checks, openFiles: openFiles, log: quiet)),
          .init(
            service: Watch(
              manager: manager, sandboxes: sandboxes, volumes: volumes, stop: stop, keep: keep,
              idleExit: idleExit),
            successTerminationBehavior: .gracefullyShutdownGroup),
          // The last one is told first that the end has come.
          .init(service: StopDeadline(end: end)),
        ],
        gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet))
    try await group.run()
    await end()
  }
}

extension ManageCommand {
  private static func check(_ openFiles: Int) throws(BlockError) {
    guard openFiles < Limits.minimumOpenFiles else { return }
    throw BlockError(
      .exhausted, step: "start", object: "the manager", cause: "it may have \(openFiles) files open",
      remedy: "Raise that to 1024 or more: ulimit -n (LimitNOFILE= of a service).")
  }

  /// What it is started for.
  private var role: ManagerRole {
    if backstores.serveBackstores != nil { return .service }
    return idleExit > 0 ? .command : .daemon
  }

  /// Ends the manager, or goes over to another program; whoever comes first does.
  ///
  /// - Parameters:
  ///   - program: What to go over to; `nil` for nothing.
  ///   - staying: Whether somebody has asked the manager to stay.
  private func end(
    _ manager: Manager, _ sandboxes: Sandboxes, _ directories: EngineDirectories, program: String?,
    staying: Bool,
    _ log: Logger
  ) async {
    guard await manager.beginEnd() else { return }
    unlink(directories.apiSocket)
    await manager.prepareEnd()
    sandboxes.prepareEnd()
    if let program {
      let failure = goOver(to: program, await manager.lockDescriptor, staying: staying, log)
      log.error("\(failure)")
      _exit(ExitCode.failure.rawValue)
    }
    backstores.stopServing(log)
    do throws(BlockError) {
      try await manager.noteEnd()
    } catch {
      log.warning("\(error)")
    }
    log.notice("manager ends; devices stay")
    // Straight out: the data servers go on without us, and what is under way is the next manager's to finish or undo.
    _exit(0)
  }

  /// Makes anew what is removed of RUN.
  private func watchRun(
    _ manager: Manager, _ directories: EngineDirectories, _ checks: SocketChecks, _ log: Logger
  ) {
    do throws(BlockError) {
      try RunWatch(manager, directories, log: log, onSocketRemoved: { checks.check() }).start()
    } catch {
      log.warning("what is removed of \(directories.run) is not made anew: \(error)")
    }
  }

  private func noteStay(_ manager: Manager, _ log: Logger) async {
    do throws(BlockError) {
      try await manager.stay()
    } catch {
      log.warning("\(error)")
    }
  }

  /// - Returns: How many files the process may have open.
  private func prepareProcess(_ log: Logger) -> Int {
    // What is made here is for the owner alone; data servers set their own.
    umask(0o077)
    signal(SIGPIPE, SIG_IGN)
    do throws(BlockError) {
      try LinuxProcess.goLastWhenMemoryIsShort()
    } catch {
      log.debug("\(error)")
    }
    do throws(BlockError) {
      try LinuxProcess.raiseFileSizeLimit()
    } catch {
      log.warning("writes behind it fail: \(error)")
    }
    return LinuxProcess.raiseOpenFileLimit()
  }

  /// Says that the manager is ready, if a service manager has started it.
  private func tellServiceManager(_ status: String, _ log: Logger) {
    do throws(BlockError) {
      try ServiceManager.ready(status: status)
    } catch {
      log.warning("\(error)")
    }
  }

  /// Starts the manager, and what serves others' backstores.
  ///
  /// The sandboxes are opened before anything is recovered: who keeps them is the one manager of ROOT, whatever RUN is.
  private func start(
    _ program: String, _ directories: EngineDirectories, _ log: Logger
  ) async throws(BlockError) -> (Manager, Sandboxes) {
    let plan = try await backstores.plan(program: program, log: log)
    let lock = try await InstanceLock.take(
      directories, as: role, inherited: lock, clock: LinuxClock(), log: log)
    let predecessor = lock.predecessor
    let sandboxes = try Sandboxes(
      .init(
        directory: directories.root, putsDamagedAside: recover,
        onStep: StepFault.steps(sandboxFaultFile, log: log)), .linux, log: log)
    let manager = try await Manager.start(
      .init(
        directories: directories,
        launches: ServerLaunches(program: program, handlers: plan?.launches ?? [:]),
        putsDamagedAside: recover,
        checkWriter: { path throws(BlockError) in
          try sandboxes.checkIsNobodys(path, "attach for writing")
        }, onStep: StepFault.steps(attachmentFaultFile, log: log)), lock, .linux, log: log)
    if let plan {
      try await backstores.serve(plan, manager, log)
    } else if predecessor == .service {
      log.notice("the manager before was killed while it served backstores; whoever waits for it is let go")
      BackstoreOptions.takeBackPromise(log)
    }
    return (manager, sandboxes)
  }

  /// Sees to it that the program that is installed now can take our place: once we are gone it is too late.
  ///
  /// - Throws: `unavailable` if it does not say its version, `corrupt` if it could do nothing with a journal; others by
  ///   errno.
  private static func checkSuccessor(
    _ program: String, _ manager: Manager, _ sandboxes: Sandboxes
  ) async throws(BlockError) {
    try await tryOut(program)
    try await sandboxes.examineJournal()
    try await manager.examineJournal()
  }

  private static func tryOut(_ program: String) async throws(BlockError) {
    let answer = try await BlockingExecutor(label: "ashlard upgrade").run { () async throws(BlockError) in
      try ChildProcess.ask(program, ["--version"], limit: 4096, deadline: .seconds(20))
    }
    guard case .exited(0) = answer.end, !answer.output.isEmpty else {
      throw BlockError(
        .unavailable, step: "go over to", object: program,
        cause: "asked for its version, it has ended with: \(answer.end)",
        remedy: "Install the program anew; the manager that runs stays.")
    }
  }

  /// Goes over to the program that is installed now, with the same options.
  ///
  /// - Parameters:
  ///   - program: Its path.
  ///   - lock: The descriptor of the instance's lock: nobody else is to become its manager meanwhile.
  ///   - staying: Whether somebody has asked the manager to stay.
  /// - Returns: Only if that is not possible: why.
  private func goOver(to program: String, _ lock: Int32, staying: Bool, _ log: Logger) -> BlockError {
    var arguments = Array(CommandLine.arguments.dropFirst())
    // Whoever waited for that report has got it; the lock has its number of now.
    for option in ["--report", "--lock"] {
      if let place = arguments.firstIndex(of: option) { arguments.removeSubrange(place...(place + 1)) }
    }
    arguments.removeAll { $0 == "--recover" }
    arguments += ["--lock", "\(lock)"]
    // The last one counts.
    if staying { arguments += ["--idle-exit", "0"] }
    log.notice("manager goes over to \(program); devices stay")
    return ChildProcess.replaceOurselves(program, arguments, keeping: lock)
  }
}

/// Ends the manager when it is asked to, or when it has had nothing to do for long enough.
private struct Watch: Service {
  let manager: Manager
  let sandboxes: Sandboxes
  let volumes: Volumes
  let stop: Wish
  let keep: Wish
  let idleExit: Int

  func run() async throws {
    let care = Task { await sandboxes.watchOver() }
    defer { care.cancel() }
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Bool.self) { ends in
        ends.addTask {
          await stop.raised()
          return true
        }
        if idleExit > 0 { ends.addTask { await isIdleForLong() } }
        for await isEnd in ends where isEnd { ends.cancelAll() }
      }
    }
  }

  /// Waits until there has been nothing to do for long enough; `false` if the manager is to stay all the same.
  ///
  /// Nobody tells of that: it is looked for when it can be so at the earliest.
  private func isIdleForLong() async -> Bool {
    let limit = Duration.seconds(idleExit)
    while !keep.isRaised {
      // Zero while something is attached: it may be detached in a moment.
      let idle = await manager.idleTime ?? .zero
      if idle >= limit, !sandboxes.isActive, !volumes.isActive { return true }
      do {
        try await Task.sleep(for: idle < limit ? limit - idle : .seconds(1))
      } catch {
        // A signal has ended us, which is as good an end as any.
        return true
      }
    }
    return false
  }
}

/// Ends the process when what was asked before its end takes too long: an attach whose image does not open, a client that
/// does not finish what it has to say.
///
/// What is under way then is left as a sudden death leaves it, and the next manager finishes or undoes it.
private struct StopDeadline: Service {
  let end: @Sendable () async -> Void

  func run() async throws {
    try await gracefulShutdown()
    let end = self.end
    Task.detached {
      try await LinuxClock().sleep(for: Deadlines.standard.stop)
      await end()
    }
  }
}
