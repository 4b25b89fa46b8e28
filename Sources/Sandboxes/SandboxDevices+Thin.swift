import BlockCore
import CLinux
import DeviceMapper
import DiskFormats
import LinuxIO
import SystemPackage

extension SandboxDevices {
  /// The pool of a store: the one that is there, or a new one.
  ///
  /// It fails writes for which there is no space with ENOSPC rather than hold them up.
  func activePool(_ row: SandboxJournal.Row) async throws(BlockError) -> MappedDevice {
    if let there = try mapper.info(pool(row)) { return there }
    let store = try await StoreFile.open(row)
    try onStep("pool loops")
    let header = store.header
    let start = SandboxStoreHeader.storeOffset
    let metadata = try attach(store, "meta", offset: start, byteCount: header.metadataByteCount)
    let data = try attach(store, "data", offset: start + header.metadataByteCount)
    try onStep("pool")
    return try mapper.create(
      "ashlar.\(row.storeID).pool", uuid: pool(row).description,
      try poolTable(metadata: try metadata.numbers(), data: try data.numbers(), store))
  }

  private func poolTable(
    metadata: DeviceNumbers, data: DeviceNumbers, _ store: StoreFile
  ) throws(BlockError) -> Table {
    let size = UInt64(try HeldFile.status(of: store.file.descriptor, store.file.path).st_size)
    let bytes = size - SandboxStoreHeader.storeOffset - store.header.metadataByteCount
    let blocks = bytes / StoreFile.thinBlock
    return Table(
      sectors: blocks * StoreFile.thinBlock / 512,
      .thinPool(
        .init(
          metadata: metadata, data: data, blockSectors: StoreFile.thinBlock / 512,
          lowWaterBlocks: blocks / 5, features: ["error_if_no_space"])))
  }

  /// Whether a pool takes changes: not so after an error.
  func isWritable(_ pool: MappedDevice) throws(BlockError) -> Bool {
    guard case .thinPool(.active(let numbers))? = try mapper.status(of: .uuid(pool.uuid)).first else {
      return false
    }
    return numbers.mode == .readWrite
  }

  /// Makes a thin device in a pool; that it is there already is no error, for nobody else has its number.
  func createThin(_ message: String, _ pool: MappedDevice) throws(BlockError) {
    try onStep("thin")
    do {
      try mapper.send(message, to: .uuid(pool.uuid))
    } catch  where error.errno == .fileExists {
      return
    }
  }

  /// The number of the device that is made of a pool to be read: one at a time.
  static let readingID: Int64 = (1 << 24) - 1

  /// What stands for a copy of a sandbox's disk in its pool that is read for a while.
  static func reading(_ row: SandboxJournal.Row) -> SandboxJournal.Row {
    var copy = row
    copy.id = "\(row.id)-read"
    copy.name = "\(row.id).read"
    copy.thinID = readingID
    return copy
  }

  /// Gives the space of a sandbox in a pool back, which is made for that if it is not there; its device goes first.
  func deleteThin(_ row: SandboxJournal.Row) async throws(BlockError) {
    try await mapper.remove(disk(row), within: Self.innerDeadline, clock: services.clock)
    try mapper.tidy(Self.name(row))
    let pool = try await activePool(row)
    do {
      try onStep("delete thin")
      try mapper.send("delete \(row.thinID)", to: .uuid(pool.uuid))
    } catch  where error.errno == .noData || error.errno == .noSuchFileOrDirectory {
      // It was deleted before we died.
      try await takePool(row)
      return
    }
    try await takePool(row)
  }

  /// Makes a store larger, so that as many disks can be rewritten, and its pool with it.
  ///
  /// - Returns: Whether there was anything to do.
  func growPool(_ row: SandboxJournal.Row, _ header: SandboxStoreHeader, disks: UInt64) throws(BlockError)
    -> Bool
  {
    guard let there = try mapper.info(pool(row)),
      case .thinPool(let parameters)? = try mapper.table(of: pool(row)).lines.first?.target
    else { return false }
    let wanted = StoreFile.byteCount(for: header, disks: disks)
    let file = try LinuxFile(row.store, for: .readOnly)
    guard file.byteCount < wanted else { return false }
    try onStep("grow")
    try LinuxFileSystem.resize(row.store, to: wanted)
    guard
      let name = SmallFile.text("/sys/dev/block/\(parameters.data)/uevent")?.split(separator: "\n")
        .first(where: { $0.hasPrefix("DEVNAME=loop") }),
      let number = Int(name.dropFirst("DEVNAME=loop".count))
    else {
      throw BlockError(
        .notFound, step: "grow", object: there.name, cause: "its data is on no loop device of ours")
    }
    try LoopDevice(holding: number).refreshSize()
    let blocks = (wanted - SandboxStoreHeader.storeOffset - header.metadataByteCount) / StoreFile.thinBlock
    try mapper.replaceTable(
      of: pool(row), with: Table(sectors: blocks * StoreFile.thinBlock / 512, .thinPool(parameters)))
    return true
  }
}
