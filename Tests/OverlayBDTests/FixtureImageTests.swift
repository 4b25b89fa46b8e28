import BlockCore
import Images
import LinuxIO
import TestKit
import Testing

/// Every image of the fixtures reads exactly as the original tools read it.
@Suite struct FixtureImageTests {
  static let images = (try? Fixtures.table("images.tsv")) ?? []

  @Test func tableIsThere() {
    #expect(Self.images.count == 40)
  }

  @Test(arguments: images)
  func readsAsUpstream(row: [String]) async throws {
    let image = try await FixtureImages.open(row[0])
    #expect(image.volume.geometry.byteCount == UInt64(row[1]))
    #expect(try await Digest.sha256(of: image.volume) == row[2])
  }
}
