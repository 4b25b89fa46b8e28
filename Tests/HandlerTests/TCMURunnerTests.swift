import BlockCore
import BlockSim
import Foundation
import Handlers
import SCSI
import Synchronization
import TestKit
import Testing

/// Handlers that were built for tcmu-runner 1.5: Debian's own, and one that ends its requests later.
@Suite struct TCMURunnerTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func open(
    _ path: String, _ configuration: String, byteCount: UInt64, blockSize: Int = 512
  ) async throws -> OpenedVolume {
    var opening = HandlerOpening(configuration, byteCount: byteCount)
    opening.blockSize = blockSize
    opening.maximumTransferBlocks = 1024
    opening.serial = { "11112222-3333-4444-5555-666677778888" }
    opening.log = { print("\($0.level): \($0.text)") }
    return try await HandlerLibrary.load(path).open(opening)
  }

  /// qcow2 images of qemu-img, read and written, and looked at by qemu-img afterwards.
  @Test func qcowReadsAndWritesWhatQemuDoes() async throws {
    let size = 16 << 20
    var random = SplitMix64(seed: Seed.of("qcowReadsAndWritesWhatQemuDoes"))
    var model = [UInt8](repeating: 0, count: size)
    for _ in 0..<40 {
      let start = Int.random(in: 0..<size - 65536, using: &random)
      for index in start..<start + 65536 { model[index] = UInt8.random(in: 0...255, using: &random) }
    }
    let image = scratch("disk.qcow2")
    try scratch.write("disk.raw", model)
    let made = try Plugins.run(
      "/usr/bin/qemu-img",
      ["convert", "-f", "raw", "-O", "qcow2", "-o", "compat=0.10", scratch("disk.raw"), image])
    try #require(made.status == 0, "\(made.output)")

    let opened = try await open(Plugins.debian("qcow"), image, byteCount: UInt64(size))
    #expect(opened.volume.geometry == VolumeGeometry(byteCount: UInt64(size), isReadOnly: false))
    #expect(opened.traits.hasWriteCache && opened.resize == nil && opened.interceptor == nil)
    let workspace = Workspace()
    for start in stride(from: 0, to: size, by: 1 << 20) {
      let read = try await opened.volume.read(at: UInt64(start), byteCount: 1 << 20, using: workspace)
      try #require(read == Array(model[start..<start + (1 << 20)]), "at \(start)")
    }
    for _ in 0..<100 {
      let count = Int.random(in: 1...128, using: &random) * 512
      let start = Int.random(in: 0...(size - count) / 512, using: &random) * 512
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      try await opened.volume.change(
        BlockRequest(.write, at: UInt64(start), byteCount: UInt64(count)), bytes, using: workspace)
      model.replaceSubrange(start..<start + count, with: bytes)
    }
    // It has no function for it; the engine writes the zeros.
    try await opened.volume.change(
      BlockRequest(.writeZeroes, at: 1 << 20, byteCount: 3 << 20), using: workspace)
    model.replaceSubrange(1 << 20..<4 << 20, with: repeatElement(0, count: 3 << 20))
    try await opened.volume.change(.flush, using: workspace)
    await opened.close()

    let check = try Plugins.run("/usr/bin/qemu-img", ["check", image])
    #expect(check.status == 0, "\(check.output)")
    let back = try Plugins.run("/usr/bin/qemu-img", ["convert", "-O", "raw", image, scratch("back.raw")])
    #expect(back.status == 0, "\(back.output)")
    #expect(try scratch.bytes("back.raw") == model)
  }

  @Test func qcowSaysWhyItCannot() async throws {
    let error = await #expect(throws: BlockError.self) {
      _ = try await open(try Plugins.debian("qcow"), scratch("none"), byteCount: 1 << 20)
    }
    #expect(error?.step == "open the disk" && error?.object == "qcow/\(scratch("none"))")
    #expect(error?.cause.isEmpty == false)
  }

  /// A host-managed SMR disk: all of its commands are the handler's.
  @Test func zbcHasZones() async throws {
    let size: UInt64 = 64 << 20
    let opened = try await open(
      Plugins.debian("file_zbc"), "model-HM/zsize-4/conv-2@\(scratch("zbc"))", byteCount: size)
    let commands = try Commands(opened.interceptor)
    let inquiry = try await commands.data([0x12, 0, 0, 0, 96, 0], count: 96)
    #expect(inquiry[0] & 0x1F == 0x14)
    #expect(String(decoding: inquiry[16..<31], as: UTF8.self) == "TCMU ZBC device")

    // REPORT ZONES (ZBC, 5.2): a header of 64 bytes, and 64 for each zone.
    let zones: [UInt8] = [0x95, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]
    let report = try await commands.data(zones, count: 4096, pieceSize: 100)
    let count = Int(report.bigEndian(0..<4)) / 64
    #expect(count >= 15, "\(count) zones")
    let zone = (0..<count).map { Array(report[64 * ($0 + 1)..<64 * ($0 + 2)]) }
    #expect(zone[0][0] & 0x0F == 1 && zone[2][0] & 0x0F == 2)
    let start = zone[2].bigEndian(16..<24)
    #expect(zone[2].bigEndian(8..<16) == 8192 && zone[2].bigEndian(24..<32) == start)

    // A sequential zone is written where its pointer stands, and nowhere else.
    let block = (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 3) }
    func rw(_ code: UInt8, at lba: UInt64) -> [UInt8] {
      [code, 0] + (0..<8).map { UInt8(truncatingIfNeeded: lba >> (56 - 8 * $0)) } + [0, 0, 0, 8, 0, 0]
    }
    #expect(try await commands.send(rw(0x8A, at: start), block, pieceSize: 1024).result?.status == .good)
    let misplaced = try await commands.send(rw(0x8A, at: start + 100), block).result
    #expect(misplaced?.status == .checkCondition && misplaced?.sense?.key == 5)
    #expect(try await commands.data(rw(0x88, at: start), count: 4096) == block)
    let after = try await commands.data(zones, count: 4096)
    #expect(after.bigEndian(64 * 3 + 24..<64 * 3 + 32) == start + 8)
    // Nobody else answers for it: what it does not know is unknown.
    #expect(try await commands.send([0xC0]).result?.sense == SenseData(0x5, 0x20, 0x00))
    await opened.close()
  }

  /// A DVD, in blocks of 2048 bytes.
  @Test func fboIsADVD() async throws {
    let size: UInt64 = 4 << 20
    try scratch.write("dvd", [UInt8](repeating: 0, count: Int(size)))
    let opened = try await open(Plugins.debian("file_optical"), scratch("dvd"), byteCount: size)
    let commands = try Commands(opened.interceptor)
    let inquiry = try await commands.data([0x12, 0, 0, 0, 36, 0], count: 36)
    #expect(inquiry[0] & 0x1F == 0x05 && inquiry[1] & 0x80 != 0)
    let block = (0..<2048).map { UInt8(truncatingIfNeeded: $0 / 5) }
    let last = UInt8((size / 2048 - 1) & 0xFF)
    let capacity = try await commands.data([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], count: 8)
    #expect(capacity.bigEndian(0..<4) == size / 2048 - 1 && capacity.bigEndian(4..<8) == 2048)
    let write: [UInt8] = [0x2A, 0, 0, 0, 7, last, 0, 0, 1, 0]
    #expect(try await commands.send(write, block).result?.status == .good)
    #expect(try await commands.data([0x28, 0, 0, 0, 7, last, 0, 0, 1, 0], count: 2048) == block)
    #expect(try await commands.send([0x28, 0, 0, 0, 8, 0, 0, 0, 1, 0], block).result?.sense?.key == 5)
    await opened.close()
    #expect(try scratch.bytes("dvd").suffix(2048) == block[...])
  }

  @Test func requestsMayEndLater() async throws {
    let path = scratch("handler_later.so")
    try Plugins.compile("handler_later.c", to: path)
    let resized = Mutex<UInt64>(0)
    var opening = HandlerOpening("x;tcmur_cmd_time_out=5;y=1", byteCount: 1 << 20)
    opening.onResize = { size in resized.withLock { $0 = size } }
    let handler = try HandlerLibrary.load(path)
    let refused = await #expect(throws: BlockError.self) { try await handler.open(HandlerOpening("z")) }
    #expect(refused?.cause == "I cannot open later/z")
    let opened = try await handler.open(opening)
    let workspace = Workspace()
    let bytes = (0..<65536).map { UInt8(truncatingIfNeeded: $0 / 7) }
    try await opened.volume.change(BlockRequest(.write, at: 4096, byteCount: 65536), bytes, using: workspace)
    #expect(try await opened.volume.read(at: 4096, byteCount: 65536, using: workspace) == bytes)
    for (offset, kind) in [(0, BlockError.Kind.ioError), (512, .outOfRange)] {
      let error = await #expect(throws: BlockError.self) {
        try await opened.volume.change(
          BlockRequest(.write, at: UInt64(offset), byteCount: 512), [UInt8](repeating: 1, count: 512),
          using: workspace)
      }
      #expect(error?.kind == kind)
    }
    // Its limit of 16 blocks is kept.
    try await opened.volume.change(BlockRequest(.discard, at: 4096, byteCount: 65536), using: workspace)
    #expect(
      try await opened.volume.read(at: 69120, byteCount: 512, using: workspace).allSatisfy { $0 == 0xDD })
    try await opened.volume.change(BlockRequest(.writeZeroes, at: 4096, byteCount: 65536), using: workspace)
    #expect(try await opened.volume.read(at: 4096, byteCount: 65536, using: workspace).allSatisfy { $0 == 0 })
    try await opened.volume.change(.flush, using: workspace)

    let commands = try Commands(opened.interceptor)
    #expect(try await commands.send([0x12, 0, 0, 0, 36, 0]).result == nil)
    #expect(try await commands.send([0xC0]).result?.sense == SenseData(0x2, 0x04, 0x0B))
    #expect(try await commands.send([0xC1]).result == CommandResult(.busy))
    #expect(try await commands.send([0xC2]).result?.sense == SenseData(0xE, 0x1D, 0x00, information: 7))

    let resize = try #require(opened.resize)
    try await resize(3 << 20)
    #expect(opened.volume.geometry.byteCount == 3 << 20)
    #expect(try await commands.send([0xC3]).result == .good)
    #expect(resized.withLock { $0 } == 2 << 20 && opened.volume.geometry.byteCount == 2 << 20)
    let setWriteCache = try #require(opened.setWriteCache)
    await #expect(throws: BlockError.self) { try await setWriteCache(false) }
    await opened.close()
  }
}
