import Attachments
import BlockCore
import DeviceMapper
import DiskFormats
import LinuxIO
import SystemPackage

/// The kernel's devices of the sandboxes: which there are, how they are made and taken apart.
///
/// Their UUIDs hold the IDs of instance and sandbox. Only by these they are found and removed, never by a name.
struct SandboxDevices: Sendable {
  let mapper: DeviceMapper
  let registry: LoopRegistry
  let journal: SandboxJournal
  let services: HostServices
  /// Called before each step; a test makes it fail or ends the process there.
  let onStep: @Sendable (String) throws(BlockError) -> Void
  /// How long a device of ours that nobody else uses may take to go.
  static let innerDeadline = Duration.seconds(10)

  /// What the UUID of every device of this instance begins with.
  var uuidPrefix: String { "\(BlockDevice.uuidPrefix)\(journal.instance)-" }

  /// What stands for the device of a sandbox.
  func disk(_ row: SandboxJournal.Row) -> DeviceReference {
    .uuid("\(uuidPrefix)\(row.id)\(BlockDevice.sandboxSuffix)")
  }
  /// What stands for the enlarged base of one.
  func origin(_ row: SandboxJournal.Row) -> DeviceReference { .uuid("\(uuidPrefix)\(row.id)-origin") }
  /// What stands for the pool of one.
  func pool(_ row: SandboxJournal.Row) -> DeviceReference { .uuid("\(uuidPrefix)\(row.storeID)-pool") }

  /// The name of a sandbox's device.
  static func name(_ row: SandboxJournal.Row) -> String { "ashlar-\(row.name)" }

  // MARK: Making

  /// Makes the devices of a sandbox: base, store and disk.
  ///
  /// If it fails, what it has made is gone; the journal says on what it stood, and the caller takes that back.
  func make(
    _ row: SandboxJournal.Row, _ base: BaseImages.Base, isNew: Bool
  ) async throws(BlockError) -> MappedDevice {
    try await clear(row)
    do throws(BlockError) {
      try onStep("base loop")
      let loop = try await registry.device(of: base)
      let numbers = try loop.numbers()
      let table: Table
      let sectors = UInt64(row.size) / 512
      switch SandboxDriver(rawValue: row.driver) {
      case .snapshot:
        let store = try await StoreFile.open(row, isNew: isNew)
        try onStep("store loop")
        let storeLoop = try attach(store, "store", offset: SandboxStoreHeader.storeOffset)
        try onStep("origin")
        let origin = try enlarged(row, numbers)
        table = Table(
          sectors: sectors,
          .snapshot(
            .init(
              origin: origin, store: try storeLoop.numbers(), persistence: .persistentWithOverflow,
              chunkSectors: SnapshotExceptions.chunkByteCount / 512)))
        return try finish(row, table)
      case .thin:
        let pool = try await activePool(row)
        if isNew { try createThin("create_thin \(row.thinID)", pool) }
        table = Table(sectors: sectors, .thin(pool: pool.numbers, id: UInt32(row.thinID), origin: numbers))
        return try finish(row, table)
      case .unknown, nil:
        throw BlockError(
          .unsupported, step: "make the device of", object: row.name,
          cause: "the driver \(row.driver) is not known to this release",
          remedy: "Install the release that has it.")
      }
    } catch {
      throw await takingBack(row, after: error)
    }
  }

  /// Takes apart what was made of a sandbox before an error, and gives that with what went wrong meanwhile.
  func takingBack(_ row: SandboxJournal.Row, after error: BlockError) async -> BlockError {
    do throws(BlockError) {
      try await take(row, within: Self.innerDeadline)
      return error
    } catch let further {
      return error.aggravated(by: further, while: "removing what was made of it")
    }
  }

  private func finish(_ row: SandboxJournal.Row, _ table: Table) throws(BlockError) -> MappedDevice {
    try onStep("disk")
    let device = try mapper.create(Self.name(row), uuid: disk(row).description, table)
    try onStep("check")
    // The kernel takes a store that it cannot use, and says so only here.
    for status in try mapper.status(of: disk(row)) {
      if let problem = Self.problem(status) {
        throw BlockError(
          .corrupt, step: "use the store of \(row.name)", object: row.store, cause: problem,
          remedy: "Its changes cannot be read; remove the sandbox.")
      }
    }
    return device
  }

  /// What is wrong with a device, as its status says.
  static func problem(_ status: TargetStatus) -> String? {
    switch status {
    case .snapshot(.invalid): "the kernel has given the snapshot up: its store could not be written"
    case .snapshot(.overflow): "the store is full, and writes fail"
    case .snapshot(.mergeFailed): "a merge has failed"
    case .thin(.failed), .thinPool(.failed): "the pool has failed"
    case .thinPool(.active(let numbers)) where numbers.mode == .readOnly:
      "the pool is read-only after an error"
    case .thinPool(.active(let numbers)) where numbers.mode == .outOfDataSpace:
      "the quota is used up, and writes to new places fail with ENOSPC"
    default: nil
    }
  }

  func attach(
    _ store: StoreFile, _ part: String, offset: UInt64, byteCount: UInt64 = 0
  ) throws(BlockError) -> LoopDevice {
    let id = store.header.id.map { hex(UInt64($0), digits: 2) }.joined()
    return try registry.attach(
      store.file,
      .init(
        isReadOnly: false, blockSize: 512, label: LoopRegistry.label(journal.instance, id, part),
        offset: offset, byteCount: byteCount))
  }

  /// The base, with zeros behind it for a disk that is larger.
  private func enlarged(
    _ row: SandboxJournal.Row, _ base: DeviceNumbers
  ) throws(BlockError) -> DeviceNumbers {
    guard row.size > row.baseSize else { return base }
    let sectors = UInt64(row.baseSize) / 512
    let table = Table([
      .init(start: 0, count: sectors, .linear(base, start: 0)),
      .init(start: sectors, count: UInt64(row.size - row.baseSize) / 512, .zero),
    ])
    return try mapper.create(
      "ashlar.\(row.id).origin", uuid: origin(row).description, table, isReadOnly: true
    ).numbers
  }

  // MARK: What is in the way

  /// Removes a stale device of ours that has the sandbox's name; somebody else's stays.
  ///
  /// - Throws: `busy` with who uses the stale one, `conflict` for somebody else's.
  private func clear(_ row: SandboxJournal.Row) async throws(BlockError) {
    let name = Self.name(row)
    if let there = try mapper.info(.name(name)) {
      guard there.uuid.hasPrefix(uuidPrefix) else {
        throw BlockError(
          .conflict, step: "make the device", object: name,
          cause: "there is a device of that name that is not ours",
          remedy: "Give that device another name (dmsetup rename \(name) OTHER), or remove it.")
      }
      try await mapper.remove(.uuid(there.uuid), within: .seconds(1), clock: services.clock)
    }
    try await take(row, within: .seconds(1))
  }

  // MARK: Taking apart

  /// Takes the devices of a sandbox apart; what is not there is apart already.
  ///
  /// - Throws: `busy` with who uses the disk; then everything is as it was.
  func take(_ row: SandboxJournal.Row, within deadline: Duration) async throws(BlockError) {
    let clock = services.clock
    let isThin = row.driver == SandboxDriver.thin.rawValue
    // What was read of it when somebody died.
    if isThin { try await mapper.remove(disk(Self.reading(row)), within: Self.innerDeadline, clock: clock) }
    try onStep("take disk")
    // One that was revoked stands on nothing.
    if let there = try mapper.info(disk(row)), !there.isRemovedWhenClosed {
      try await mapper.remove(disk(row), within: deadline, clock: clock)
    }
    try mapper.tidy(Self.name(row))
    if row.size > row.baseSize {
      try onStep("take origin")
      try await mapper.remove(origin(row), within: Self.innerDeadline, clock: clock)
    }
    if isThin { try await takePool(row) }
  }

  /// Takes a disk away from those who use it: it fails all requests, stands on nothing, has a name that nobody wants, and
  /// goes with the last who closes it.
  func revoke(_ row: SandboxJournal.Row) throws(BlockError) {
    guard let there = try mapper.info(disk(row)) else { return }
    try mapper.replaceTable(
      of: disk(row), with: Table(sectors: UInt64(row.size) / 512, .error), [.withoutFlush, .withoutFreeze])
    try mapper.rename(there.name, to: "ashlar.\(row.id).revoked")
    try mapper.remove(disk(row), deferred: true)
  }

  /// Takes a pool apart, unless another disk stands on it.
  func takePool(_ row: SandboxJournal.Row) async throws(BlockError) {
    guard let there = try mapper.info(pool(row)) else { return }
    // What stands on it counts as having it open.
    guard there.openCount == 0 else { return }
    try onStep("take pool")
    try await mapper.remove(pool(row), within: Self.innerDeadline, clock: services.clock)
  }
}
