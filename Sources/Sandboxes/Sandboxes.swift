import Attachments
import BlockCore
import DeviceMapper
import Glibc
import Images
import Journals
import LinuxIO
import Logging
import Synchronization

/// The sandboxes of an instance: private writable disks over shared bases, made and kept by the kernel.
///
/// Disks go on without this object and without the process that it is in; the next one takes over what the journal
/// speaks of. The functions may be called from any task, and a caller that withdraws leaves nothing half done.
public final class Sandboxes: Sendable {
  /// What the sandboxes need to know.
  public struct Options: Sendable {
    /// Where journal and stores are kept: an existing directory.
    public var directory: String
    /// How long a disk may take to go before it counts as used.
    public var deadline: Duration
    /// Whether a damaged journal is put aside and a new one begun; the stores stay where they are.
    public var putsDamagedAside: Bool
    /// Called before each step with its name; a test makes it fail there, or ends the process.
    public var onStep: @Sendable (String) throws(BlockError) -> Void

    /// Makes options; the parameters are those of the properties.
    public init(
      directory: String, deadline: Duration = .seconds(5), putsDamagedAside: Bool = false,
      onStep: @escaping @Sendable (String) throws(BlockError) -> Void = { _ throws(BlockError) in }
    ) {
      self.directory = directory
      self.deadline = deadline
      self.putsDamagedAside = putsDamagedAside
      self.onStep = onStep
    }
  }

  let options: Options
  let services: HostServices
  let log: Logger
  let journal: SandboxJournal
  /// Where the journal that was damaged has been put; `nil` if it was not.
  public let putAside: String?
  let bases: BaseImages
  let registry: LoopRegistry
  let turns = Turns()
  /// Two who keep one directory would take each other's devices for stale ones.
  private let lock: FileLock
  /// How long the lock may be somebody else's before it counts as taken.
  private static let patience = Duration.seconds(1)
  let bootID = SmallFile.text("/proc/sys/kernel/random/boot_id") ?? ""
  let watch = Mutex(WatchState())
  let activeTurns = Atomic<Int>(0)
  let executor = BlockingExecutor(label: "ashlar sandboxes")
  /// Opened when the first sandbox is made: a host without device-mapper can do everything else.
  private let opened = Mutex<DeviceMapper?>(nil)

  /// Opens the sandboxes of a directory; nothing is done to them before ``recover()``.
  ///
  /// - Throws: `conflict` if another process has that directory's sandboxes; `ioError` if the journal cannot be had.
  public init(_ options: Options, _ services: HostServices, log: Logger) throws(BlockError) {
    self.options = options
    self.services = services
    self.log = log
    let path = "\(options.directory)/sandboxes.lock"
    guard let lock = try Self.lock(path, services.clock) else {
      let holder = FileLock.holder(of: path)?.process
      let isStopped = holder?.isStopped ?? false
      let way = holder.map { " (kill \(isStopped ? "-KILL " : "")\($0.pid); its devices stay)" } ?? ""
      throw BlockError(
        .conflict, step: "start a manager of", object: options.directory,
        cause: "another manager has that directory\(holder.map { " (process \($0.pid))" } ?? "")"
          + (isStopped ? ", and is stopped" : ""),
        remedy: "Stop that one\(way), or give this one a directory of its own (--root).")
    }
    try lock.note("sandboxes")
    self.lock = lock
    (journal, putAside) = try Self.journal(options, services, log)
    bases = BaseImages(journal, services.clock)
    registry = LoopRegistry(instance: journal.instance, log)
  }

  /// Takes the lock of a directory; `nil` if somebody has it who keeps it.
  ///
  /// A program that is just being started by one that has ended holds it for a moment.
  private static func lock(_ path: String, _ clock: any HostClock) throws(BlockError) -> FileLock? {
    let end = clock.now + patience
    while clock.now < end {
      if let lock = try FileLock.take(path) { return lock }
      usleep(20_000)
    }
    return try FileLock.take(path)
  }

  /// Opens the journal; a damaged one is put aside first if that was asked for.
  private static func journal(
    _ options: Options, _ services: HostServices, _ log: Logger
  ) throws(BlockError) -> (SandboxJournal, String?) {
    let path = EngineDirectories.sandboxJournal(in: options.directory)
    let journal: SandboxJournal
    var aside: String?
    do throws(BlockError) {
      let opened = try SandboxJournal(path, random: services.random)
      // What is damaged may only be seen when it is read.
      _ = try opened.rows()
      journal = opened
    } catch  where options.putsDamagedAside && JournalCheck.isDamage(error) {
      let place = try JournalCheck.putAside(path)
      log.error("\(error) It was put aside: \(place)")
      let stores = SmallFile.entries(options.directory).filter { $0.hasSuffix(".store") }.sorted()
      if !stores.isEmpty {
        log.error("stores that no sandbox has any more: \(stores.joined(separator: ", "))")
      }
      aside = place
      journal = try SandboxJournal(path, random: services.random)
    }
    if let notice = journal.notice { log.warning("\(path): \(notice)") }
    return (journal, aside)
  }

  /// Examines the journal's file as the next manager will.
  ///
  /// - Throws: `corrupt` if that could do nothing with it.
  public func examineJournal() async throws(BlockError) {
    try await executor.run { [self] () async throws(BlockError) in try journal.examine() }
  }

  /// Puts the journal in order for an orderly end: its file holds everything by itself then.
  public func prepareEnd() {
    do throws(BlockError) {
      try journal.checkpoint()
    } catch {
      // All of it is in the log still.
      log.warning("\(error)")
    }
  }

  /// The kernel's devices.
  var devices: SandboxDevices {
    get throws(BlockError) {
      let (mapper, failure) = opened.withLock { opened -> (DeviceMapper?, BlockError?) in
        if let opened { return (opened, nil) }
        do throws(BlockError) {
          let mapper = try DeviceMapper()
          opened = mapper
          return (mapper, nil)
        } catch {
          return (nil, error)
        }
      }
      guard let mapper else {
        throw failure
          ?? BlockError(.unavailable, step: "open", object: "device-mapper", cause: "it is not there")
      }
      return SandboxDevices(
        mapper: mapper, registry: registry, journal: journal, services: services, onStep: options.onStep)
    }
  }

  /// Whose turn it is to clean up; no sandbox has that name.
  static let cleaning = "/"

  /// Runs a body on threads that may wait, when it is the object's turn; a caller that withdraws does not end it.
  func inTurn<Value: Sendable>(
    _ object: String, _ body: @escaping @Sendable () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let turns = self.turns
    activeTurns.add(1, ordering: .relaxed)
    defer { activeTurns.subtract(1, ordering: .relaxed) }
    return try await executor.run { () async throws(BlockError) in
      // Not while what is nobody's is being removed: what is made now looks like that for a moment.
      await turns.begin(Self.cleaning)
      turns.end(Self.cleaning)
      await turns.begin(object)
      defer { turns.end(object) }
      return try await body()
    }
  }

  /// The row of a sandbox that is to be used.
  ///
  /// - Throws: `notFound` if there is none, `unsupported` for one that another release has left.
  func known(_ name: SandboxName) throws(BlockError) -> SandboxJournal.Row {
    let row = try find(name)
    try Self.checkIsUnderstood(
      row, "use", "Install that release again; nothing is done to the sandbox meanwhile.")
    return row
  }

  /// Refuses to do something to a sandbox that another release has left.
  static func checkIsUnderstood(_ row: SandboxJournal.Row, _ step: String, _ remedy: String)
    throws(BlockError)
  {
    guard let unknown = row.unknownPart else { return }
    throw BlockError(
      .unsupported, step: "\(step) the sandbox", object: row.name,
      cause: "another release has left it in a way that this one does not understand: \(unknown)",
      remedy: remedy)
  }

  private func find(_ name: SandboxName) throws(BlockError) -> SandboxJournal.Row {
    guard let row = try journal.row(name.text) else {
      throw BlockError(
        .notFound, step: "find", object: name.text, cause: "there is no sandbox of that name",
        remedy: "See which there are: ashlar sandbox ls.")
    }
    return row
  }

  /// Notes what a sandbox is doing now; for good, if the next boot has to know it.
  func move(
    _ row: inout SandboxJournal.Row, to state: SandboxState, isDurable: Bool = false
  ) throws(BlockError) {
    row.state = state.rawValue
    try options.onStep("note \(state.rawValue)")
    try journal.save(row, isDurable: isDurable)
  }

  // MARK: Looking

  /// All sandboxes, the oldest first.
  public func list() async throws(BlockError) -> [SandboxInfo] {
    tidyNames()
    return infos(try journal.rows())
  }

  /// Removes names in `/dev/mapper` that stand for other disks than they say; a failure is for the log alone.
  func tidyNames() {
    guard DeviceMapper.hasNames else { return }
    do throws(BlockError) {
      try devices.mapper.tidyNames()
    } catch {
      log.warning("\(error)")
    }
  }

  /// One sandbox.
  ///
  /// - Throws: `notFound` if there is none of that name.
  public func inspect(_ name: SandboxName) async throws(BlockError) -> SandboxInfo {
    info(try find(name))
  }

  /// Whether a sandbox has a device, or somebody waits for what is done to one.
  public var isActive: Bool {
    if activeTurns.load(ordering: .relaxed) > 0 { return true }
    // A journal that cannot be read is no reason to leave.
    guard let rows = try? journal.rows() else { return true }
    return rows.contains { $0.state != SandboxState.paused.rawValue }
  }

  func info(_ row: SandboxJournal.Row) -> SandboxInfo {
    describe(row, allocated: LinuxFileSystem.allocatedBytes([row.store])[0])
  }

  /// What there is to say of some sandboxes; a store that does not answer holds up no other.
  func infos(_ rows: [SandboxJournal.Row]) -> [SandboxInfo] {
    zip(rows, LinuxFileSystem.allocatedBytes(rows.map(\.store))).map { describe($0, allocated: $1) }
  }

  private func describe(_ row: SandboxJournal.Row, allocated: UInt64?) -> SandboxInfo {
    var state = row.unknownPart == nil ? SandboxState(rawValue: row.state) ?? .unknown : .unknown
    var problem = row.unknownPart.map { "another release has left it: \($0)" }
    var percent: Int?
    var path: String?
    if state == .merging { problem = watch.withLock { $0.problems[row.name] } }
    if state != .paused && state != .unknown {
      do throws(BlockError) {
        let devices = try self.devices
        // By the name that it has now, whoever has given it that.
        path = try devices.mapper.info(devices.disk(row))?.path
        if path != nil {
          let references =
            row.driver == SandboxDriver.thin.rawValue
            ? [devices.disk(row), devices.pool(row)] : [devices.disk(row)]
          for reference in references {
            for status in try devices.mapper.status(of: reference) {
              problem = SandboxDevices.problem(status) ?? problem
              percent = Self.percent(status) ?? percent
            }
          }
        }
      } catch {
        problem = error.description
      }
    }
    if state == .running && path == nil {
      state = .paused
      problem = row.bootID == bootID ? "somebody has removed its device; resume it" : nil
    }
    return SandboxInfo(
      name: row.name, state: state, device: path,
      size: UInt64(row.size),
      base: .init(path: row.base, sha256: row.baseSHA256, size: UInt64(row.baseSize)),
      store: .init(
        path: row.store, driver: SandboxDriver(rawValue: row.driver) ?? .unknown,
        allocated: allocated, percent: percent,
        quota: row.quota > 0 ? UInt64(row.quota) : nil),
      createdAt: row.createdAt, problem: problem, work: work(of: row.name))
  }

  static func percent(_ status: TargetStatus) -> Int? {
    switch status {
    case .snapshot(.active(let used, _)): used.percent
    case .thinPool(.active(let numbers)): numbers.data.percent
    default: nil
    }
  }
}
