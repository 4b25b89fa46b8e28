import BlockCore
import CLinux
import DeviceMapper
import Glibc
import LinuxIO
import SystemPackage

extension DeviceMapperCheck {
  /// Writes blocks of 4 KiB; gives the error of the first that fails.
  ///
  /// Past the page cache, for that turns every error of its own writing into EIO.
  private func write(_ path: String, blocks: Range<Int>, byte: UInt8) throws -> Errno? {
    let descriptor = try Descriptor.open(path, O_RDWR | clinux_O_DIRECT)
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { bytes.deallocate() }
    memset(bytes, Int32(byte), 4096)
    for block in blocks where pwrite(descriptor.raw, bytes, 4096, block * 4096) != 4096 {
      return Errno(rawValue: errno)
    }
    return fsync(descriptor.raw) == 0 ? nil : Errno(rawValue: errno)
  }

  private func status(_ name: String) throws -> TargetStatus? {
    try mapper.status(of: .uuid(uuid(name))).first
  }

  private func expectStatus(_ name: String, _ expected: TargetStatus, line: Int = #line) throws {
    let found = try status(name)
    expect(found == expected, "\(name): \(found.map { "\($0)" } ?? "no target")", line: line)
  }

  /// Disk 0 is the origin; the store is a part of disk 1 that is too small for all of it.
  func snapshots() throws {
    let store = try mapper.create(
      "check-store", uuid: uuid("store"), Table(sectors: 128, .linear(disks[1], start: 0)))
    let snapshot = Target.Snapshot(
      origin: disks[0], store: store.numbers, persistence: .persistent, chunkSectors: 8)
    let made = try mapper.create("check1", uuid: uuid("1"), Table(sectors: 2048, .snapshot(snapshot)))
    try expectStatus("1", .snapshot(.active(used: Usage(used: 16, total: 128), metadata: 16)))
    expect(try write(made.path, blocks: 0..<4, byte: 1) == nil, "a write failed")
    try expectStatus("1", .snapshot(.active(used: Usage(used: 48, total: 128), metadata: 16)))
    try mapper.remove(.uuid(uuid("1")))
    // Made again over the same store, it has the same content.
    _ = try mapper.create("check1", uuid: uuid("1"), Table(sectors: 2048, .snapshot(snapshot)))
    expect(try read(made.path, 4 * 4096).allSatisfy { $0 == 1 }, "its content is lost")
    expect(try write(made.path, blocks: 0..<100, byte: 2) == .ioError, "a full store takes writes")
    try expectStatus("1", .snapshot(.invalid))
    try mapper.remove(.uuid(uuid("1")))
    try mapper.remove(.uuid(uuid("store")))
  }

  func thinDevices() throws {
    let metadata = try mapper.create(
      "check-meta", uuid: uuid("meta"), Table(sectors: 4096, .linear(disks[1], start: 8192)))
    let data = try mapper.create(
      "check-data", uuid: uuid("data"), Table(sectors: 2048, .linear(disks[1], start: 16384)))
    // A pool is made where the metadata begins with zeros.
    expect(try write("/dev/mapper/check-meta", blocks: 0..<1, byte: 0) == nil, "a write failed")
    let pool = try mapper.create(
      "check-pool", uuid: uuid("pool"),
      Table(
        sectors: 2048,
        .thinPool(
          .init(
            metadata: metadata.numbers, data: data.numbers, blockSectors: 128, lowWaterBlocks: 2,
            features: ["error_if_no_space"]))))
    guard case .thinPool(.active(let empty)) = try status("pool") else { Self.fail("the pool does not work") }
    expect(empty.data == Usage(used: 0, total: 16) && empty.mode == .readWrite, "\(empty)")
    expect(empty.failsWithoutSpace && !empty.needsCheck, "\(empty)")
    try mapper.send("create_thin 0", to: .uuid(uuid("pool")))
    let thin = try mapper.create(
      "check1", uuid: uuid("1"), Table(sectors: 4096, .thin(pool: pool.numbers, id: 0, origin: nil)))
    expect(try write(thin.path, blocks: 0..<16, byte: 5) == nil, "a write failed")
    try expectStatus("1", .thin(.active(mappedSectors: 128)))
    try mapper.suspend(.uuid(uuid("1")))
    try mapper.send("create_snap 1 0", to: .uuid(uuid("pool")))
    try mapper.resume(.uuid(uuid("1")))
    let fork = try mapper.create(
      "check2", uuid: uuid("2"), Table(sectors: 4096, .thin(pool: pool.numbers, id: 1, origin: nil)))
    expect(try write(thin.path, blocks: 0..<1, byte: 6) == nil, "a write failed")
    expect(try read(fork.path, 4096).allSatisfy { $0 == 5 }, "the fork sees what came later")
    expect(try write(thin.path, blocks: 0..<512, byte: 7) == .noSpace, "a full pool takes writes")
    guard case .thinPool(.active(let full)) = try status("pool") else { Self.fail("the pool does not work") }
    expect(full.mode == .outOfDataSpace && full.data.percent == 100, "\(full)")
    expect(try read(fork.path, 4096).allSatisfy { $0 == 5 }, "what was there is lost")
    for name in ["2", "1", "pool", "data", "meta"] { try mapper.remove(.uuid(uuid(name))) }
  }

  func errorAndZero() throws {
    let made = try mapper.create(
      "check1", uuid: uuid("1"),
      Table([.init(start: 0, count: 8, .zero), .init(start: 8, count: 8, .zero)]))
    expect(try read(made.path, 8192).allSatisfy { $0 == 0 }, "zero is something else")
    try mapper.replaceTable(of: .uuid(uuid("1")), with: Table(sectors: 16, .error))
    do {
      _ = try read(made.path, 4096)
      Self.fail("the target error was read")
    } catch let error as BlockError {
      expect(error.errno == .ioError, "\(error)")
    }
    try mapper.remove(.uuid(uuid("1")))
  }

  func versions() throws {
    let versions = try mapper.targetVersions()
    for name in ["linear", "snapshot", "thin-pool", "zero"] {
      expect((versions[name]?.first ?? 0) >= 1, "\(name) has no version: \(versions)")
    }
  }
}
