import Attachments
import BlockCore
import LinuxIO
import Logging
import Synchronization
import TransportTCMU

/// The owner of all attachments of an instance: it answers requests, supervises the data servers, and
/// moves no data.
///
/// It can stop, crash or be replaced at any time; the next one takes over what the journal speaks of.
public actor Manager {
  // It waits for its directories and for the kernel's lists of devices and mounts; on a thread that nobody else has, since
  // it is asked for everything.
  private nonisolated let executor = BlockingActorExecutor(
    on: BlockingExecutor(label: "ashlar manager", limit: 1))
  let context: Attachment.Context
  /// The host's clock.
  nonisolated var clock: any HostClock { context.services.clock }
  private let transportCheck: @Sendable (TransportChoice) throws(BlockError) -> Void
  /// Where files of images are looked at.
  public nonisolated var looks: FileLooks { context.looks }
  /// What there is, by its ID.
  package var attachments: [AttachmentID: Attachment] = [:]
  /// Those that are asked what there is to say of them and have not answered in time.
  private var silent: Set<ObjectIdentifier> = []
  private var lastActivity: Duration
  private var activeRequests = 0
  /// Requests that whoever speaks for the manager has taken and not answered.
  private nonisolated let openRequests = Atomic(0)
  /// Where the journal that was damaged has been put.
  let putAside: String?
  private var isEnding = false
  // Held for the manager's life: one instance has one manager.
  private var lock: InstanceLock

  /// What a manager needs to know.
  public struct Options: Sendable {
    /// Where the instance keeps what.
    public var directories: EngineDirectories
    /// How data servers are started.
    public var launches: ServerLaunches
    /// How long waits may take.
    public var deadlines: Deadlines
    /// Whether a damaged journal is put aside and a new one begun.
    public var putsDamagedAside: Bool
    /// Asked, with its path, before an image is opened for writing: throws if somebody stands on it.
    public var checkWriter: @Sendable (String) throws(BlockError) -> Void
    /// Called at each step of an attach or detach, with its name; what it throws is that step's failure.
    public var onStep: @Sendable (String) throws(BlockError) -> Void

    /// Makes options; the parameters are those of the properties.
    public init(
      directories: EngineDirectories, launches: ServerLaunches, deadlines: Deadlines = .standard,
      putsDamagedAside: Bool = false,
      checkWriter: @escaping @Sendable (String) throws(BlockError) -> Void = { _ throws(BlockError) in },
      onStep: @escaping @Sendable (String) throws(BlockError) -> Void = { _ throws(BlockError) in }
    ) {
      self.directories = directories
      self.launches = launches
      self.deadlines = deadlines
      self.putsDamagedAside = putsDamagedAside
      self.checkWriter = checkWriter
      self.onStep = onStep
    }
  }

  /// Takes an instance over: its journal, and what that speaks of.
  ///
  /// - Parameters:
  ///   - options: What it needs to know.
  ///   - lock: The instance's lock, of which this is the manager from now on.
  ///   - services: The host's clock and chance.
  ///   - log: Where it reports.
  /// - Throws: `ioError` if the journal cannot be had.
  public static func start(
    _ options: Options, _ lock: consuming InstanceLock, _ services: HostServices, log: Logger
  ) async throws(BlockError) -> Manager {
    let (gone, post) = AsyncStream<Attachment>.makeStream()
    let (journal, aside) = try Self.journal(options, log)
    let context = Attachment.Context(
      directories: options.directories, journal: journal, services: services,
      log: log, launches: options.launches, deadlines: options.deadlines, bootID: Self.bootID,
      looks: FileLooks(clock: services.clock), checkWriter: options.checkWriter, onGone: { post.yield($0) },
      onStep: options.onStep)
    let manager = Manager(context, lock, aside)
    Task {
      for await attachment in gone { await manager.forget(attachment) }
    }
    Task { await Self.writeOwed(context) }
    try await manager.recover()
    return manager
  }

  /// The descriptor that holds the instance's lock, for a program that takes our place in this process.
  public var lockDescriptor: Int32 { lock.raw }

  private init(_ context: Attachment.Context, _ lock: consuming InstanceLock, _ aside: String?) {
    putAside = aside
    self.context = context
    self.lock = lock
    lastActivity = context.services.clock.now
    transportCheck = HostSupport.require
  }

  private static var bootID: String { SmallFile.text("/proc/sys/kernel/random/boot_id") ?? "" }

  /// The threads that its code runs on.
  public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  // MARK: Requests

  /// Attaches an image, or answers with what is attached under that ID already.
  ///
  /// - Parameters:
  ///   - id: What the user calls it.
  ///   - spec: What is to be attached.
  /// - Returns: The attachment, usable.
  /// - Throws: `conflict` if the ID stands for something else; whatever kept it from being attached.
  public func attach(_ id: AttachmentID, _ spec: AttachmentSpec) async throws(BlockError) -> AttachmentInfo {
    try await attach(id, spec, .fresh)
  }

  /// As ``attach(_:_:)``, for a device that somebody may have served before.
  func attach(
    _ id: AttachmentID, _ spec: AttachmentSpec, _ start: ServerOrder.Start
  ) async throws(BlockError) -> AttachmentInfo {
    begin()
    defer { end() }
    var before: Journal.Row?
    while true {
      let attachment = if let known = attachments[id] { known } else { try create(id, spec, after: before) }
      let info = try await attachment.inTurn { attachment in await attachment.attachOrConfirm(spec, start) }
      // Without an answer it has gone while we waited for our turn.
      if let info { return info }
      before = await attachment.isReplaced ? attachment.row : nil
      forget(attachment)
    }
  }

  /// - Parameter before: The row of the one whose place it takes, because its data server has died: what that one served,
  ///   and a flush that failed in it, hold for this one, too.
  private func create(
    _ id: AttachmentID, _ spec: AttachmentSpec, after before: Journal.Row?
  ) throws(BlockError) -> Attachment {
    try transportCheck(spec.transport)
    let name = "ashlar-\(id)-\(String(context.services.random.next(), radix: 16))"
    var row = try Journal.Row(
      id: id, exportName: name, spec: spec, bootID: context.bootID,
      createdAt: Double(context.services.clock.sinceEpoch.components.seconds))
    // Not by their texts: JSON has its keys in any order.
    if let before, try before.decodedSpec() == spec {
      row.pin = before.pin
      row.flushFailure = before.flushFailure
    }
    let attachment = try Attachment(context, row: row)
    attachments[id] = attachment
    return attachment
  }

  /// Detaches; an ID that nothing is attached under is detached already.
  ///
  /// - Parameters:
  ///   - id: What the user calls it.
  ///   - force: Whether to go ahead although somebody uses the device.
  /// - Returns: Whether it is gone, with force what is in use goes later; and of what flush that failed somebody should
  ///   know.
  /// - Throws: `busy` without force if somebody uses it.
  public func detach(_ id: AttachmentID, force: Bool) async throws(BlockError) -> DetachReply {
    begin()
    defer { end() }
    guard let attachment = attachments[id] else { return DetachReply(gone: true) }
    // What was never attached nobody uses; and what it waits for may never come.
    if force { await attachment.abandonAttach() }
    // Nobody hears of it any more when it is gone.
    let loss = await attachment.flushLoss
    let isGone = try await attachment.inTurn(within: context.deadlines.turn) { attachment in
      await attachment.detachOrExplain(force: force)
    }
    return DetachReply(gone: isGone, problem: loss)
  }

  /// Gives a device a new data server while it is in use: of the program as it is installed now.
  ///
  /// - Returns: The attachment, with its new data server.
  /// - Throws: `notFound`; `unsupported` for a device that ends with its data server.
  public func handOver(_ id: AttachmentID) async throws(BlockError) -> AttachmentInfo {
    begin()
    defer { end() }
    let attachment = try find(id)
    return try await attachment.inTurn { attachment in await attachment.handOverOrExplain() }
  }

  /// Has the flushes of a device begin anew after one has failed: somebody has seen to what it lost.
  ///
  /// - Returns: The attachment. One of which no flush has failed stays as it is.
  /// - Throws: `notFound`; what kept its data server from it.
  public func resetFlushFailure(_ id: AttachmentID) async throws(BlockError) -> AttachmentInfo {
    begin()
    defer { end() }
    let attachment = try find(id)
    return try await attachment.inTurn { attachment in await attachment.resetFlushFailure() }
  }

  /// All attachments, the oldest first.
  public func list() async -> [AttachmentInfo] {
    begin()
    defer { end() }
    var infos: [AttachmentInfo] = []
    let mounts = Mount.all()
    for attachment in attachments.values {
      infos.append(await info(attachment, withCounters: false, mounts: mounts))
    }
    return infos.sorted { ($0.attachedAt, $0.id.text) < ($1.attachedAt, $1.id.text) }
  }

  /// Everything about one attachment.
  ///
  /// - Throws: `notFound` if nothing is attached under that ID.
  public func inspect(_ id: AttachmentID) async throws(BlockError) -> AttachmentInfo {
    begin()
    defer { end() }
    return await info(try find(id), withCounters: true, mounts: Mount.all())
  }

  /// What there is to say of an attachment; of one whose operations wait in the kernel what is known without it.
  private func info(_ attachment: Attachment, withCounters: Bool, mounts: [Mount]) async -> AttachmentInfo {
    let key = ObjectIdentifier(attachment)
    guard !silent.contains(key) else { return attachment.briefInfo }
    let told = Task { await attachment.info(withCounters: withCounters, mounts: mounts) }
    let info = await Race.first(within: Limits.infoTime, clock: context.services.clock) { await told.value }
    if let info { return info }
    // It is asked again when it has answered.
    silent.insert(key)
    Task {
      _ = await told.value
      silent.remove(key)
    }
    return attachment.briefInfo
  }

  private func find(_ id: AttachmentID) throws(BlockError) -> Attachment {
    guard let attachment = attachments[id] else {
      throw BlockError(
        .notFound, step: "find", object: id.text, cause: "nothing is attached under that ID",
        remedy: "See what is: ashlar ls.")
    }
    return attachment
  }

  /// Whether the ID stands for something, in whatever state.
  public func isKnown(_ id: AttachmentID) -> Bool { attachments[id] != nil }

  // MARK: Idleness

  func begin() { activeRequests += 1 }

  func end() {
    activeRequests -= 1
    lastActivity = context.services.clock.now
  }

  /// Answers a request; meanwhile the manager has something to do, also if it is not asked yet.
  public nonisolated func answering<Answer>(_ body: () async throws -> Answer) async rethrows -> Answer {
    openRequests.add(1, ordering: .relaxed)
    defer { openRequests.subtract(1, ordering: .relaxed) }
    return try await body()
  }

  /// How long there has been nothing to do and nothing to supervise; `nil` while there is.
  public var idleTime: Duration? {
    guard activeRequests == 0, openRequests.load(ordering: .relaxed) == 0, attachments.isEmpty else {
      return nil
    }
    return context.services.clock.now - lastActivity
  }

  /// The attachment of a backstore, if it is one of ours or served by us.
  func attachment(of backstore: Backstore) -> Attachment? {
    attachments.values.first { attachment in
      attachment.spec.backstore.map { $0.hba == backstore.hba && $0.name == backstore.name } ?? false
    }
  }

  /// Ends what served a backstore that is no more.
  func forgetServed(_ attachment: Attachment) async throws(BlockError) {
    try await attachment.inTurn { attachment in await attachment.forgetServed() }
    forget(attachment)
  }

  /// How many attachments there are.
  public var attachmentCount: Int { attachments.count }

  private func forget(_ attachment: Attachment) {
    if attachments[attachment.id] === attachment { attachments[attachment.id] = nil }
    lastActivity = context.services.clock.now
  }

  // MARK: Its directories

  /// Notes that somebody has asked this manager to stay.
  public func stay() throws(BlockError) { try lock.stay() }

  /// Whether whoever calls it is to end the process: the first one is.
  public func beginEnd() -> Bool {
    defer { isEnding = true }
    return !isEnding
  }

  /// Notes that this manager ends in good order: it leaves nobody waiting.
  public func noteEnd() throws(BlockError) { try lock.noteEnd() }

  /// Makes the directories anew that somebody has removed, and keeps the instance's lock.
  ///
  /// - Throws: `busy` if another manager was faster; by errno.
  public func mendDirectories() throws(BlockError) {
    guard try lock.mend() else { return }
    context.log.notice("\(context.directories.lock) was removed; it is there again")
  }

  /// Makes the links to devices anew that somebody has removed.
  ///
  /// - Parameter name: Whose; `nil` for all.
  public func mendLinks(of name: String? = nil) async {
    for attachment in attachments.values where name == nil || attachment.id.text == name {
      await attachment.mendLink()
    }
  }
}
