import BlockCore
import BlockSim
import Images
import LinuxIO
import OverlayBD
import TestKit
import Testing

/// Every damaged file gives an error that names file, field and offset; where upstream serves wrong bytes
/// without a word, at least nothing worse happens.
@Suite struct DamagedFixtureTests {
  static let rows = (try? Fixtures.table("damaged.tsv")) ?? []

  /// Damage that no reader can see: bytes without a checksum, or an index that is sound but says less.
  static let invisible: Set<String> = [
    "data-flip.lsmt", "idx-moffset-shift.lsmt", "idx-size-0.lsmt", "idx-size-short.lsmt", "vsize-small.lsmt",
    "nocrc-block-flip.zf",
  ]

  enum Outcome: Equatable {
    case reads(String)
    case fails(BlockError)
    case isNoZFile
  }

  @Test func tableIsThere() { #expect(Self.rows.count == 82) }

  private func outcome(_ name: String) async throws -> Outcome {
    do {
      if name.hasSuffix(".zf") {
        let workspace = Workspace()
        let file = try LinuxFile(Fixtures.path(name), for: .readOnly)
        guard let zfile = try await ZFile.openIfPresent(file, using: workspace) else { return .isNoZFile }
        return .reads(try await Digest.sha256(of: zfile))
      }
      let image = try await FixtureImages.open(name.replacing(".lsmt", with: ".v1.json"))
      return .reads(try await Digest.sha256(of: image.volume))
    } catch let error as BlockError {
      return .fails(error)
    }
  }

  @Test(arguments: rows)
  func damageIsFoundAndNamed(row: [String]) async throws {
    let name = row[0].replacing("damaged/", with: "")
    let good = try await outcome(name.hasSuffix(".zf") ? "zfile/lz4-4k-crc.zf" : "damaged/base.lsmt")
    switch try await outcome(row[0]) {
    case .fails(let error):
      #expect(
        error.object.contains(name) || error.object.contains(name.replacing(".lsmt", with: ".v1.json")),
        "\(error)")
      #expect(error.cause.contains("at byte"), "\(error)")
      #expect(error.remedy != nil)
      // What upstream reads without harm we may refuse only because a checksum or a length is wrong.
      if row[3].contains("SAME") {
        #expect(error.kind == .checksumMismatch || name == "t-paxsize.lsmt", "\(error)")
      }
    case .isNoZFile: #expect(name == "hdr-magic0.zf" || name == "hdr-magic1.zf")
    case let reads:
      if Self.invisible.contains(name) {
        #expect(row[3].contains("DIFFERENT") || row[3].contains("WRONG"), "\(row)")
        #expect(reads != good)
      } else {
        #expect(reads == good, "\(row)")
        #expect(row[3].contains("SAME"), "upstream refuses it: \(row)")
      }
    }
  }

  /// Entries up to the last sector there can be stack; one that reaches behind it is damage.
  @Test func entriesEndWithTheLastSector() async throws {
    let last = Segment.maximumOffset
    func layer(_ sector: UInt64, _ count: UInt64) async throws -> Layer {
      let extents = [LayerFabric.Extent(sector: sector, zeroedCount: count)]
      let bytes = LayerFabric.committedLayer(extents, virtualSize: 1 << 30)
      return try await Layer.openSealed(MemorySource(bytes), using: Workspace())
    }
    _ = try LayerStack([try await layer(last - 200, 200), try await layer(last - 100, 50)], name: "stack")
    let error = await #expect(throws: BlockError.self) { try await layer(last - 200, 201) }
    #expect(error?.kind == .corrupt && error?.cause.contains("index entry 0 length at byte 4096") == true)
  }
}
