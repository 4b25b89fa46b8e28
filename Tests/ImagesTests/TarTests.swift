import BlockCore
import BlockSim
import Images
import LinuxIO
import OverlayBD
import TestKit
import Testing

/// Layers in the tars that tar programs write, and mappings that end behind a tar.
@Suite struct TarTests {
  private func open(_ text: String) async throws -> Image {
    try await Image.open(
      try ImageReference(text, relativeTo: "/"), ImageOptions(isReadOnly: true, writesResultFile: false),
      .linux)
  }

  @Test(arguments: ["ustar", "gnu", "busybox"])
  func aLayerOpensInEachEnvelope(name: String) async throws {
    let image = try await open(Fixtures.path("tar/\(name).tar"))
    #expect(
      try await Digest.sha256(of: image.volume)
        == "94a5855022f5a59eae4d173cbc8f009f1c9cb1a1b1e80250c59ad916029bbc14")
  }

  /// A whole block is mapped of which the tar has a part: upstream reads what is missing as zeros.
  @Test func aMappingMayEndBehindTheTar() async throws {
    let expected = "1e36807c550281c4d911bbde508f072ddd467222ef0541989c7d203339308a4f"
    for name in ["exact", "past-end"] {
      let image = try await open("overlaybd:\(Fixtures.path("turbo/\(name).v1.json"))")
      #expect(try await Digest.sha256(of: image.volume) == expected, "\(name)")
      let found = try await image.verify(taskCount: 2, Progress())
      #expect(found.isSound, "\(found)")
    }
  }

  /// A tar with headers in front of its layer: types and contents.
  private func tar(_ headers: [(type: Character, content: [UInt8])], _ payload: [UInt8]) -> [UInt8] {
    headers.flatMap { LayerFabric.tarEntry($0.type, $0.content) } + LayerFabric.tarEntry("0", payload)
      + [UInt8](repeating: 0, count: 1024)
  }

  private static let layer = LayerFabric.committedLayer(
    [.init(sector: 3, content: [UInt8](repeating: 1, count: 512))], virtualSize: 1 << 20)

  @Test func headersInFrontAreSkipped() async throws {
    let scratch = try Scratch()
    let global = Array("30 comment=from-a-git-archive\n".utf8)
    let long = Array("a-long-name/of-a-layer\0".utf8)
    let path = try scratch.write("layer.tar", tar([("g", global), ("L", long), ("K", long)], Self.layer))
    #expect(try await open(path).layers.count == 1)
    let many = [(type: Character, content: [UInt8])](repeating: ("L", long), count: Limits.tarHeaders)
    try scratch.write("layer.tar", tar(many, Self.layer))
    let error = await #expect(throws: BlockError.self) { try await self.open(path) }
    #expect(error?.cause.contains("a tar of another kind") == true)
  }

  @Test func otherTarsAreRefusedAsSuch() async throws {
    let scratch = try Scratch()
    var old = LayerFabric.tarEntry("0", Self.layer)
    old.replaceSubrange(257..<265, with: [UInt8](repeating: 0, count: 8))
    LayerFabric.putChecksum(into: &old)
    let sparse = Array("22 GNU.sparse.major=1\n".utf8)
    let tars: [(name: String, bytes: [UInt8])] = [
      ("old", old), ("directory", tar([("5", [])], Self.layer)), ("link", tar([("2", [])], Self.layer)),
      ("sparse", tar([("S", [])], Self.layer)), ("pax-sparse", tar([("x", sparse)], Self.layer)),
      ("another file", tar([], [UInt8](repeating: 7, count: 5000))),
    ]
    for (name, bytes) in tars {
      let path = try scratch.write("layer.tar", bytes)
      let error = await #expect(throws: BlockError.self, "\(name)") { try await self.open(path) }
      let text = error?.description ?? ""
      #expect(error?.kind == .unsupported && text.contains("a tar of another kind"), "\(name): \(text)")
      #expect(!text.contains("raw:"), "\(name): \(text)")
    }
  }
}
