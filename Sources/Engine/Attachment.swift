import Attachments
import BlockCore
import LinuxIO
import Logging

/// One attachment: its row in the journal, its data server, its device.
///
/// Its operations are done one after the other; see docs/architecture.md for the order of their steps and
/// for what a death at each of them leaves behind.
package actor Attachment {
  /// What all attachments share.
  struct Context: Sendable {
    let directories: EngineDirectories
    let journal: Journal
    let services: HostServices
    let log: Logger
    /// How data servers are started.
    let launches: ServerLaunches
    let deadlines: Deadlines
    let bootID: String
    /// Where files are looked at that may not answer.
    let looks: FileLooks
    /// Refuses a file or device that an image may not be written to, at a path.
    let checkWriter: @Sendable (String) throws(BlockError) -> Void
    /// Called when an attachment is no more.
    let onGone: @Sendable (Attachment) -> Void
    /// Called at each step, as ``Manager/Options/onStep``.
    let onStep: @Sendable (String) throws(BlockError) -> Void
  }

  // It waits for the journal's disk, for the kernel, and for programs to start.
  private nonisolated let executor = BlockingActorExecutor()
  nonisolated let id: AttachmentID
  nonisolated let exportName: String
  /// Seconds since 1970-01-01 00:00:00 UTC.
  private nonisolated let createdAt: Double
  let context: Context
  nonisolated let spec: AttachmentSpec
  var row: Journal.Row
  var state = AttachmentState.attaching
  var problem: String?
  var status: ServerStatus?
  var server: ProcessIdentity?
  var link: ServerLink?
  var hold: DeviceHold?
  /// Whether the data server runs, as far as we know.
  var isServing = false
  /// Whether another one of its ID takes its place, because its data server has died.
  var isReplaced = false
  /// Whether nothing is left of it.
  var isGone = false
  /// Whether the journal has its row; if not, it is there and nobody knows why.
  var isListed: Bool
  /// What the data server has said of itself.
  var serverHello: ServerHello?
  /// How our child ended, while its last words are awaited.
  var childEnd: ChildProcess.End?
  /// The child whose end is waited for, or was.
  var reapedPid: Int32?
  var changeRequests = PendingRequests<Result<Void, BlockError>>()
  var counterRequests = PendingRequests<RequestCounters.Snapshot?>()
  /// The number of the last request to a data server.
  package var lastRequest: UInt64 = 0
  private var endWaiters: [CheckedContinuation<Void, Never>] = []
  private var readyWaiter: CheckedContinuation<Result<ServerStatus, BlockError>, Never>?
  private var outcome: Result<ServerStatus, BlockError>?
  /// What stands in the kernel for it.
  var objects: any KernelObjects {
    if let backstore = spec.backstore {
      return BackstoreObjects(id: id, spec, backstore, exportName: exportName)
    }
    return LoopObjects(
      exportName: exportName, connection: row.connection.map { UInt32(truncatingIfNeeded: $0) })
  }
  /// When data servers of this device died lately, the last one last.
  var deaths: [Duration] = []
  /// Whether its last user's end is waited for.
  var isFinishing = false
  /// Whether a new data server is being found.
  var isReviving = false
  /// How far the data server is with handing the device over to the next one; `nil` if that is not its task.
  var handover: Handover?
  /// The number of the request to do so.
  var handoverRequest: UInt64?
  /// Resets of a flush failure whose asker has gone away, and which may be done nevertheless.
  var lateResets: Set<UInt64> = []
  /// The operations that were asked for: one runs after the other.
  var turns = Turns()
  /// Whether somebody has given it up, with force, before it was attached.
  var isAbandoned = false
  /// Where an attach is told of its end that waits for what it will write to to be looked at.
  var writerCheck: AsyncStream<Result<Void, BlockError>>.Continuation?
  /// The data server that we have killed.
  var killed: ProcessIdentity?
  /// The writing of the device's page cache that is under way.
  var pageFlush: PageFlush?
  /// Since when the data server owes an answer; `nil` if it owes none.
  var askedAt: Duration?

  /// Something new, or something that the journal speaks of.
  ///
  /// - Parameters:
  ///   - context: What all attachments share.
  ///   - row: Its row.
  ///   - isListed: Whether the row is in the journal, or about to be.
  /// - Throws: `invalidArgument` for an ID that cannot be one.
  init(_ context: Context, row: Journal.Row, isListed: Bool = true) throws(BlockError) {
    self.context = context
    self.row = row
    self.isListed = isListed
    id = try AttachmentID(row.id)
    exportName = row.exportName
    createdAt = row.createdAt
    do throws(BlockError) {
      spec = try row.decodedSpec()
      state = AttachmentState(rawValue: row.state) ?? .unknown
      if state == .unknown { problem = Self.leftAlone(isListed: isListed, row, "its state is \(row.state)") }
    } catch {
      // A transport of another release, or a damaged row: what it is about may be in use.
      spec = AttachmentSpec.unknown
      state = .unknown
      problem = Self.leftAlone(isListed: isListed, row, error.cause)
    }
  }

  /// The threads that its code runs on.
  package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  // MARK: What comes from the server

  /// Waits for the end of a child of ours, on a thread of its own.
  func reap(_ pid: Int32) throws(BlockError) {
    try WorkerThread.start(name: "reap \(pid)") { [weak self] in
      let end = ChildProcess.waitForEnd(of: pid)
      Task { await self?.childEnded(pid, end) }
    }
    reapedPid = pid
  }

  /// What the server said last may still be on its way; that comes first.
  private func childEnded(_ pid: Int32, _ end: ChildProcess.End) {
    guard row.serverPid == pid else { return }
    if link == nil { serverEnded(end) } else { childEnd = end }
  }

  func serverEnded(_ end: ChildProcess.End) {
    isServing = false
    noteFlushRecord()
    settle(
      .failure(
        BlockError(
          .unavailable, step: "attach", object: id.text,
          cause: "its data server is gone: \(endDescription(end))",
          remedy: "Look into the log \(context.directories.log) or the journal of the service.")))
    let waiters = endWaiters
    endWaiters = []
    for waiter in waiters { waiter.resume() }
    switch state {
    case .attached: lost(end)
    // Whoever still uses it was promised that it stays until he is done.
    case .detaching where objects.outlivesServer && !isReviving && !end.isSuccess: reviveInBackground()
    case .unknown: serverOfUnknownEnded()
    case .detaching, .attaching, .failed: return
    }
  }

  /// A device that was usable has lost its server.
  private func lost(_ end: ChildProcess.End) {
    // It was told to end.
    if handover != nil { return }
    if end.isSuccess {
      // The server ends well only when the device is gone: somebody has detached the loop device.
      context.log.notice("\(id): its device was taken apart by somebody else")
      state = .detaching
      finishInBackground()
      return
    }
    problem = "the data server is gone: \(endDescription(end))"
    context.log.error("\(id): \(problem ?? "")")
    if isReviving { return }
    if objects.outlivesServer { return reviveInBackground() }
    state = .failed
    row.state = state.rawValue
    save()
  }

  /// Closes our descriptor of the device.
  ///
  /// The last one who does so waits until the device's page cache is written; that is not for us to wait for.
  func letGo() {
    guard let hold else { return }
    self.hold = nil
    Blocking.start("let go") { hold.release() }
  }

  // MARK: Waiting for the server

  func settle(_ result: Result<ServerStatus, BlockError>) {
    guard outcome == nil else { return }
    outcome = result
    readyWaiter?.resume(returning: result)
    readyWaiter = nil
  }

  /// Forgets what an earlier server has said: another one is about to start.
  func expectServer() {
    outcome = nil
    childEnd = nil
  }

  /// Whether the server has not said yet what came of its order.
  var isAnswerAwaited: Bool { outcome == nil }

  /// Waits until the server serves the image, or has failed to.
  func serverReady() async -> Result<ServerStatus, BlockError> {
    if let outcome { return outcome }
    return await withCheckedContinuation { readyWaiter = $0 }
  }

  /// Waits until the server is gone.
  func serverGone() async {
    guard isServing else { return }
    await withCheckedContinuation { endWaiters.append($0) }
  }

  // MARK: The journal

  /// Writes the row down where that failing is not the operation's own failure.
  func save() {
    do {
      try context.journal.save(row, canWait: true)
    } catch {
      context.log.error("\(id): \(error)")
    }
  }

  // MARK: What users see

  /// What is known of it without asking it: for when what is being done to it waits in the kernel.
  nonisolated var briefInfo: AttachmentInfo {
    var info = AttachmentInfo(id: id, image: spec.image, readOnly: spec.isReadOnly, attachedAt: createdAt)
    info.transport = transport.rawValue
    info.backstore = spec.backstore
    info.state = .unknown
    info.problem = "what is being done to it has waited in the kernel for more than \(Limits.infoTime)"
    return info
  }

  private nonisolated var transport: TransportChoice { spec.backstore == nil ? .fuse : .tcmu }

  /// Everything there is to say about it, given all mounts of the host.
  func info(withCounters: Bool, mounts: [Mount]) async -> AttachmentInfo {
    var info = AttachmentInfo(id: id, image: spec.image, readOnly: spec.isReadOnly, attachedAt: row.createdAt)
    info.state = state
    info.problem = problem
    if state == .attached && objects.hasServer && !isServerAlive && (server != nil || link == nil)
      && handover == nil
    {
      info.state = .failed
      info.problem = problem ?? "the data server is gone"
    }
    if let flushProblem { info.problem = (info.problem.map { "\($0); " } ?? "") + flushProblem }
    info.device = row.device
    if info.state == .attached, row.device != nil { info.link = context.directories.link(id) }
    if let server, link != nil { info.server = .init(pid: server.pid) }
    info.transport = transport.rawValue
    info.backstore = spec.backstore
    if let status {
      info.size = status.size
      info.readOnly = status.readOnly
      info.format = status.format
      info.layers = status.layers
      info.notices = status.notices
    } else if !objects.hasServer, let device = row.device, objects.owns(device) {
      // Of what another process serves only the kernel knows it; a disk that is just going has none.
      info.size = (try? BlockDevice.byteCount(ofNode: device)) ?? 0
      info.readOnly = BlockDevice.attribute("ro", of: String(device.dropFirst("/dev/".count))) == "1"
    }
    if let device = row.device, objects.owns(device) {
      info.mounts = DeviceUsage.mounts(of: device, in: mounts).map {
        .init(directory: $0.mountPoint, type: $0.type)
      }
    }
    if withCounters {
      info.requests = await counters()
    } else if askedAt == nil, state == .attached {
      // Whether it answers shows when somebody looks again.
      ask()
    }
    info.problem = info.problem ?? silence ?? debt
    return info
  }

  /// What is to be said of a row that could not be written.
  private var debt: String? {
    guard context.journal.owes(id.text) else { return nil }
    return
      "what has changed of it is not written down yet: \(context.directories.journal) cannot be written, see the log. "
      + "It is tried again and again; free some space there if it is full"
  }

  /// Whether the server's process runs, also where its end has not been reported yet.
  var isServerAlive: Bool { server?.isAlive ?? false }

  /// Who uses the device; what looks for them may wait, and we do not.
  func usage() async -> DeviceUsage {
    guard let device = row.device else { return DeviceUsage() }
    let server = server?.pid
    return await Blocking.run("usage") { [objects] in
      // The number may have gone to another disk meanwhile.
      objects.owns(device) ? DeviceUsage(of: device, servedBy: server) : DeviceUsage()
    }
  }
}
