import BlockCore
import BlockSim
import DiskFormats
import Hashing
import TestKit
import Testing

/// The store of a sandbox: its header, and dm-snapshot's exceptions.
@Suite struct StoreTests {
  private let header = SandboxStoreHeader(
    kind: .thin, id: [UInt8](1...16), base: Digest256([UInt8](repeating: 6, count: 32)),
    baseByteCount: 1 << 20,
    byteCount: 2 << 20, chunkByteCount: 65536, metadataByteCount: 1 << 22, quota: 1 << 21)

  @Test func aHeaderComesBackAsItWas() throws {
    let bytes = try header.encoded()
    #expect(bytes.count == SandboxStoreHeader.byteCount)
    #expect(try SandboxStoreHeader(bytes, file: "store") == header)
  }

  @Test func everyChangedByteIsSeen() throws {
    let bytes = try header.encoded()
    for index in [0, 8, 12, 16, 40, 64, 72, 80, 88, 96, 1000, 4095] {
      var other = bytes
      other[index] ^= 0x40
      let error = #expect(throws: BlockError.self) { try SandboxStoreHeader(other, file: "store") }
      #expect(error?.kind == .corrupt && error?.object == "store")
    }
    #expect(throws: BlockError.self) { try SandboxStoreHeader(Array(bytes.dropLast()), file: "store") }
  }

  /// The figures of a kernel: with these chunks all of a disk of 16 MiB can be rewritten.
  @Test func aStoreHasRoomForEveryChunk() {
    #expect(SnapshotExceptions.chunksNeeded(forDiskOf: 16 << 20) == 4096 + 18)
    #expect(SnapshotExceptions.chunksNeeded(forDiskOf: 512) == 4)
    #expect(SnapshotExceptions.chunksNeeded(forDiskOf: Limits.sandboxBytes) > 1 << 34)
  }

  private typealias Entry = SnapshotExceptions.Entry

  private func store(_ entries: [Entry], chunks: Int = 600, valid: UInt32 = 1) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: chunks * 4096)
    func put(_ value: some FixedWidthInteger, at offset: Int) {
      withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
    put(UInt32(0x7041_6E53), at: 0)
    put(valid, at: 4)
    put(UInt32(1), at: 8)
    put(UInt32(8), at: 12)
    for (number, entry) in entries.enumerated() {
      let place = (1 + number / 256 * 257) * 4096 + number % 256 * 16
      put(entry.chunk, at: place)
      put(entry.stored, at: place + 8)
    }
    return bytes
  }

  private func read(_ bytes: [UInt8], present: UInt64? = nil) async throws -> [Entry] {
    try await SnapshotExceptions(
      MemorySource(bytes, name: "store"), diskByteCount: 1000 * 4096, present: present ?? UInt64(bytes.count),
      using: Workspace()
    ).entries
  }

  @Test func entriesAreReadAreaByArea() async throws {
    let numbers: [UInt64] = Array(0..<300)
    let entries: [Entry] = numbers.map { Entry(chunk: $0 * 3, stored: 2 + $0 + $0 / 256) }
    #expect(try await read(store(entries)) == entries)
    #expect(try await read([UInt8](repeating: 0, count: 8192)).isEmpty)
  }

  @Test(
    arguments: [[1000, 2], [1, 600], [1, 1], [1, 258], [UInt64.max, 2], [1, UInt64.max]] as [[UInt64]])
  func anEntryThatCannotBeRightIsRefused(entry: [UInt64]) async {
    let bytes = store([Entry(chunk: entry[0], stored: entry[1])])
    let error = await #expect(throws: BlockError.self) { try await read(bytes) }
    #expect(error?.kind == .corrupt)
  }

  /// Which of the two the kernel would take is its affair.
  @Test func twoEntriesForOneChunkAreRefused() async {
    let bytes = store([Entry(chunk: 5, stored: 2), Entry(chunk: 7, stored: 3), Entry(chunk: 5, stored: 4)])
    let error = await #expect(throws: BlockError.self) { try await read(bytes) }
    #expect(error?.kind == .corrupt)
  }

  @Test func aStoreThatTheKernelHasGivenUpIsRefused() async {
    let error = await #expect(throws: BlockError.self) { try await read(store([], valid: 0)) }
    #expect(error?.kind == .corrupt && error?.cause.contains("changes were lost") == true)
  }

  @Test func aStoreThatHasLostItsHeaderIsNotTakenForNew() async {
    var bytes = store([Entry(chunk: 1, stored: 2)])
    bytes.replaceSubrange(0..<4096, with: [UInt8](repeating: 0, count: 4096))
    let torn = bytes
    let error = await #expect(throws: BlockError.self) { try await read(torn) }
    #expect(error?.kind == .corrupt)
  }

  @Test func aStoreThatWasCutShortIsReadUpToWhatIsMissing() async throws {
    let bytes = store([Entry(chunk: 1, stored: 2), Entry(chunk: 2, stored: 3), Entry(chunk: 3, stored: 4)])
    #expect(try await read(bytes, present: 5 * 4096).count == 3)
    let error = await #expect(throws: BlockError.self) { try await read(bytes, present: 4 * 4096 + 100) }
    #expect(error?.kind == .corrupt && error?.description.contains("4128") == true)
  }
}
