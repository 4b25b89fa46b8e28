import BlockCore
import Images
import LinuxIO
import OverlayBD
import TestKit
import Testing

@Suite struct DamagedFixtureTests {
  static let rows = (try? Fixtures.table("damaged.tsv")) ?? []

  @Test(arguments: rows)
  func outcome(row: [String]) async throws {
    let name = row[0]
    var text = ""
    do {
      if name.hasSuffix(".zf") {
        let ws = Workspace()
        let file = try LinuxFile(Fixtures.path(name), for: .readOnly)
        if let z = try await ZFile.openIfPresent(file, using: ws) {
          text = "reads " + (try await Digest.sha256(of: z))
        } else { text = "not a zfile" }
      } else {
        let image = try await FixtureImages.open(name.replacing(".lsmt", with: ".v1.json"))
        text = "reads " + (try await Digest.sha256(of: image.volume))
      }
    } catch let error as BlockError { text = "\(error.kind): \(error)" }
    print("OUT|\(name)|\(row[2])|\(row[3])|\(text.replacing(Fixtures.root, with: ""))")
  }
}
