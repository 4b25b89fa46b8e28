import Attachments
import BlockCore
import LinuxIO
import Logging
import SystemPackage
import TransportTCMU

/// Serves the backstores that somebody else makes in configfs, as overlaybd's daemon and tcmu-runner do: each by a
/// data server of its own.
public actor BackstoreService {
  /// Which backstores are served.
  public struct Options: Sendable {
    /// Their subtypes.
    public var subtypes: Set<String>

    /// Makes options; the parameters are those of the properties.
    public init(subtypes: Set<String>) {
      self.subtypes = subtypes
    }
  }

  // It waits for configfs, and for the kernel to take its answers.
  private nonisolated let executor = BlockingActorExecutor(
    on: BlockingExecutor(label: "ashlar service", limit: 1))
  let manager: Manager
  let log: Logger
  /// The last thing to be done for each backstore that something is done for.
  private var turns: [String: (number: Int, task: Task<Void, Never>)] = [:]
  private var turnCount = 0
  private let events: TCMUEvents
  let releases: DeviceReleases
  private let subtypes: Set<String>

  /// Subscribes to the kernel's events and begins to take over what is there already, each by itself: one whose image
  /// does not open holds up no other, nor whoever enables a new one.
  ///
  /// Writers that wait for the answer of a daemon that has died are let go first, unless another daemon is there
  /// that they may be waiting for.
  ///
  /// - Throws: `unavailable` without the driver, `permissionDenied` without root.
  public static func start(
    _ manager: Manager, _ options: Options, log: Logger
  ) async throws(BlockError) -> BackstoreService {
    try await Blocking.run("drivers") { () throws(BlockError) in try TargetConfiguration.prepare() }
    let others = try TCMUEvents.otherListeners()
    // If the kernel does not say who else listens, nobody's wait is ended.
    let isAlone = others?.isEmpty ?? false
    if isAlone {
      try NetlinkBlocking.set(true)
      try NetlinkBlocking.reset()
    } else {
      log.notice("others listen to TCM-USER's events: \(others.map { "\($0)" } ?? "nobody knows who")")
    }
    let service: BackstoreService
    // What comes later is told of.
    let orphans: [UIODevice.Entry]
    do throws(BlockError) {
      let events = try TCMUEvents.start(promising: options.subtypes) { message in log.warning("\(message)") }
      let releases = try DeviceReleases.start { message in log.warning("\(message)") }
      try AnswerExemption.start(options.subtypes, events) { message in
        log.warning("\(message)")
      } onExempted: { backstore in
        log.info("\(backstore): nobody waits for an answer, since other daemons listen, too")
      }
      service = BackstoreService(manager, options, events, releases, log)
      orphans = UIODevice.all()
    } catch {
      if isAlone { try NetlinkBlocking.set(false) }
      throw error
    }
    if isAlone { try NetlinkBlocking.set(false) }
    for entry in orphans { Task { await service.takeOver(entry) } }
    Task { await service.listen() }
    Task { await service.awaitReleases() }
    return service
  }

  private init(
    _ manager: Manager, _ options: Options, _ events: TCMUEvents, _ releases: DeviceReleases, _ log: Logger
  ) {
    self.manager = manager
    self.events = events
    self.releases = releases
    self.log = log
    subtypes = options.subtypes
  }

  /// Sees to it that nobody waits for this process's answers when it has ended, unless others listen.
  ///
  /// - Throws: `unavailable` without the driver, others by errno.
  public static func endAnswers() throws(BlockError) { try TCMUEvents.endAnswers() }

  func isOurs(_ configuration: String) -> Bool {
    subtypes.contains(BackstoreConfiguration(configuration).subtype)
  }

  /// Looks into a backstore's directory.
  ///
  /// Whoever removes the backstore holds that locked until we answer him, so that we do not wait for it ourselves.
  func look<Value: Sendable>(
    at backstore: Backstore, _ body: @escaping @Sendable (Backstore) -> Value
  ) async -> Value {
    await Blocking.run("configfs") { body(backstore) }
  }

  /// Whether an engine has made it for itself, this one or another instance: with our serial number, and without
  /// waiting for anybody's answer.
  func isServedByItsMaker(_ backstore: Backstore) async -> Bool {
    await look(at: backstore) { $0.serial.hasPrefix(BackstoreObjects.serialPrefix) && !$0.waitsForAnswers }
  }

  /// The threads that its code runs on.
  public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  /// Answers events for as long as they come: those of one backstore in their order, those of different ones side by
  /// side.
  private func listen() async {
    for await event in events.stream {
      // Nothing is done at the end of a device but to let its remover go, who must not wait for what was asked before.
      if case .removed = event.kind {
        Task { await handle(event) }
      } else {
        handleInTurn(event)
      }
    }
    log.error("the kernel's events of TCM-USER have ended")
  }

  private func handleInTurn(_ event: TCMUEvent) {
    let object = event.name.isEmpty ? "uio\(event.uioNumber)" : event.name
    let previous = turns[object]?.task
    turnCount += 1
    let number = turnCount
    let task = Task {
      await previous?.value
      await handle(event)
      if turns[object]?.number == number { turns[object] = nil }
    }
    turns[object] = (number, task)
  }

  private func handle(_ event: TCMUEvent) async {
    var status: Errno?
    do throws(BlockError) {
      guard try await dispatch(event) else { return }
    } catch {
      log.error("\(event.name.isEmpty ? "uio\(event.uioNumber)" : event.name): \(error)")
      status = error.errno ?? error.kind.codes.errno
    }
    guard !event.isAnswered else { return }
    do throws(BlockError) {
      try events.answer(event, status)
    } catch {
      // Not found: nobody waits, since it is exempted or others have answered.
      log.log(
        level: error.kind == .notFound ? .debug : .notice, "the kernel did not take an answer: \(error)")
    }
  }

  /// Does what an event asks for.
  ///
  /// - Returns: Whether the kernel waits for an answer of ours.
  private func dispatch(_ event: TCMUEvent) async throws(BlockError) -> Bool {
    // What has no name is gone already; whoever caused it may wait all the same.
    guard let entry = event.entry else { return true }
    let backstore = entry.backstore
    let known = await manager.attachment(of: backstore)
    guard known != nil || isOurs(entry.configuration) else { return try await isForUs(event, entry) }
    // Whoever removes it holds its directory locked until he is answered: a look into it would wait for ever.
    if case .removed = event.kind { return known?.spec.backstore?.role != .own }
    var isAwaited = !event.isAnswered
    if isAwaited { isAwaited = await look(at: backstore, \.waitsForAnswers) }
    switch event.kind {
    case .added:
      try await add(entry, known, isAwaited: isAwaited)
    case .reconfiguredSize(let byteCount): try await change(known, .size(byteCount))
    case .reconfiguredWriteCache(let isOn): try await change(known, .writeCache(isOn))
    // Who restores a saved backstore sets it to what it is already (rtslib).
    case .reconfiguredConfiguration(entry.configuration): break
    case .reconfiguredConfiguration(let text): try await change(known, .configuration(text))
    case .removed, .reconfiguredOtherwise: return false
    }
    return isAwaited
  }

  /// Serves a backstore that was enabled.
  private func add(
    _ entry: UIODevice.Entry, _ known: Attachment?, isAwaited: Bool
  ) async throws(BlockError) {
    // What we make ourselves is served without being told; so is what another instance makes.
    if !isAwaited, await isServedByItsMaker(entry.backstore) { return }
    if let known {
      guard known.spec.backstore?.role == .served else { return }
      // If nobody waits for us it may have been taken over before its event came.
      if !isAwaited {
        guard try !UIODevice.isServed(entry) else { return }
      }
      try await manager.forgetServed(known)
    }
    do throws(BlockError) {
      try await serve(entry.backstore, entry.configuration, .fresh)
    } catch  where error.kind == .busy && !isAwaited {
      try awaitRelease(of: entry, after: error)
    }
  }

  /// Another daemon that listens answers for its own, and refuses what nobody knows; without one nobody would.
  private func isForUs(_ event: TCMUEvent, _ entry: UIODevice.Entry) async throws(BlockError) -> Bool {
    guard let others = try TCMUEvents.otherListeners(), others.allSatisfy(\.isOurs) else { return false }
    guard case .added = event.kind else { return others.isEmpty }
    if !others.isEmpty {
      // They promise their own at once and say nothing of all else, as we do.
      try await manager.clock.pause(for: .seconds(1))
      guard await look(at: entry.backstore, { $0.waitsForAnswers && !$0.isEnabled }) else { return false }
    }
    throw BlockError(
      .notFound, step: "serve", object: "\(entry.backstore)",
      cause: "nobody here knows the subtype of \(entry.configuration)")
  }

  /// Refuses a configuration of which bytes were replaced because they are no UTF-8: it would name another file.
  private static func checkText(_ configuration: String) throws(BlockError) {
    guard configuration.unicodeScalars.contains("\u{FFFD}") else { return }
    throw BlockError(
      .invalidArgument, step: "serve", object: configuration,
      cause: "it holds bytes that are no UTF-8, or U+FFFD, which stands for such",
      remedy: "Give the file a name in UTF-8, or a link that has one.")
  }

  private func change(_ attachment: Attachment?, _ change: DeviceChange) async throws(BlockError) {
    if case .configuration(let text) = change { try Self.checkText(text) }
    guard let attachment else {
      throw BlockError(.notFound, step: "change", object: "a backstore", cause: "nobody here serves it")
    }
    try await attachment.inTurn { attachment in await attachment.changeOrExplain(change) }
  }

  func serve(
    _ backstore: Backstore, _ configuration: String, _ start: ServerOrder.Start
  ) async throws(BlockError) {
    try Self.checkText(configuration)
    do throws(BlockError) {
      try TargetConfiguration.prepareReservations()
    } catch {
      // The disk is usable without them.
      log.warning("\(backstore): \(error)")
    }
    let spec = BackstoreSpec(
      hba: backstore.hba, name: backstore.name, configuration: configuration, role: .served)
    _ = try await manager.attach(
      Self.id(of: backstore),
      AttachmentSpec(
        scheme: spec.subtype, path: spec.detail, configuration: nil, transport: .tcmu, isReadOnly: false,
        backstore: spec), start)
  }

  /// What an attachment is called that nobody has named: after its backstore.
  static func id(of backstore: Backstore) throws(BlockError) -> AttachmentID {
    do {
      return try AttachmentID("user_\(backstore.hba):\(backstore.name)")
    } catch {
      // Names in configfs may hold what an ID may not.
      let digest = backstore.name.utf8.reduce(into: UInt64(14_695_981_039_346_656_037)) { hash, byte in
        hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211
      }
      return try AttachmentID("user_\(backstore.hba):\(String(digest, radix: 16))")
    }
  }
}
