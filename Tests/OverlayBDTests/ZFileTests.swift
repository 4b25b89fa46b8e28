import BlockCore
import BlockSim
import LinuxIO
import OverlayBD
import TestKit
import Testing

@Suite struct ZFileTests {
  static let rows = (try? Fixtures.table("zfiles.tsv")) ?? []

  @Test func tableIsThere() { #expect(Self.rows.count == 37) }

  /// Also the one that upstream writes and cannot read: 64 KiB blocks that do not compress.
  @Test(arguments: rows)
  func readsAsItsSource(row: [String]) async throws {
    let workspace = Workspace()
    let file = try LinuxFile(Fixtures.path(row[0]), for: .readOnly)
    let tar = try await TarEnvelope.openIfPresent(file, using: workspace)
    #expect((tar != nil) == row[0].hasSuffix(".tar"))
    #expect(tar.map { $0.payloadOffset == 1536 && $0.hasPAXHeader } ?? true)
    let zfile = try #require(try await ZFile.openIfPresent(tar?.payload ?? file, using: workspace))
    #expect(try await Digest.sha256(of: zfile) == row[2])
    #expect(zfile.isHeaderOverwritten == (row[3] == "0x1b"))
  }

  @Test(arguments: [BlockCodec.lz4, .zstd], [4096, 8192, 16384, 32768, 65536])
  func everyRangeReadsRight(codec: BlockCodec, blockSize: Int) async throws {
    let seed = Seed.of("everyRangeReadsRight \(codec) \(blockSize)")
    var random = SplitMix64(seed: seed)
    for kind in ["rand", "text", "zero"] {
      let content = OpsScript.content(kind, 3, 200_000 + Int.random(in: 0..<5000, using: &random))
      let bytes = LayerFabric.zfile(content, .init(codec, blockSize: blockSize))
      let disk = SimulatedDisk(seed: random.next())
      let workspace = Workspace()
      let zfile = try #require(try await ZFile.openIfPresent(disk.add("z", bytes), using: workspace))
      #expect(
        zfile.byteCount == UInt64(content.count) && zfile.blockSize == blockSize && zfile.codec == codec)
      disk.setWaitShare(0.05)
      var position = 0
      for round in 0..<400 {
        // Now anywhere, now where the last read ended.
        if round % 3 != 0 { position = Int.random(in: 0..<content.count, using: &random) }
        let count = min(Int.random(in: 0...20_000, using: &random), content.count - position)
        let read = try await zfile.bytes(at: UInt64(position), byteCount: count, using: workspace)
        #expect(
          read == Array(content[position..<position + count]), "\(count) bytes at \(position), seed \(seed)")
        position = min(position + count, content.count - 1)
      }
      await #expect(throws: BlockError.self) {
        try await zfile.bytes(at: UInt64(content.count - 10), byteCount: 11, using: workspace)
      }
    }
  }

  @Test func everyFlippedByteIsNoticed() async throws {
    let content = OpsScript.content("text", 1, 9000)
    let good = LayerFabric.zfile(content, .init(.lz4))
    for position in good.indices {
      var bytes = good
      bytes[position] ^= 0x40
      let workspace = Workspace()
      do {
        guard let zfile = try await ZFile.openIfPresent(MemorySource(bytes), using: workspace) else {
          continue
        }
        let read = try await zfile.bytes(at: 0, byteCount: Int(zfile.byteCount), using: workspace)
        // A change that is not noticed must not change the content.
        #expect(read == content, "byte \(position)")
      } catch {
        #expect(
          [.corrupt, .checksumMismatch, .unsupported].contains(error.kind), "byte \(position): \(error)")
      }
    }
  }

  @Test func truncationAnywhereIsNoticed() async throws {
    let content = OpsScript.content("rand", 1, 9000)
    let good = LayerFabric.zfile(content, .init(.zstd))
    for count in stride(from: 0, to: good.count, by: 7) {
      let workspace = Workspace()
      do {
        let zfile = try await ZFile.openIfPresent(MemorySource(Array(good.prefix(count))), using: workspace)
        #expect(zfile == nil && count < 512, "\(count) bytes")
      } catch {
        #expect(count >= 512)
      }
    }
  }

  @Test func describesDamageByFileFieldAndOffset() async throws {
    let workspace = Workspace()
    var bytes = LayerFabric.zfile(OpsScript.content("text", 1, 9000), .init(.lz4))
    bytes[600] ^= 1
    let zfile = try #require(
      try await ZFile.openIfPresent(MemorySource(bytes, name: "/x/layer"), using: workspace))
    let error = await #expect(throws: BlockError.self) {
      try await zfile.bytes(at: 0, byteCount: 100, using: workspace)
    }
    #expect(error?.kind == .checksumMismatch)
    #expect(error?.object == "/x/layer")
    #expect(error?.cause.contains("block 0 at byte 512") == true)
  }
}
