import BlockCore
import BlockSim
import DiskFormats
import TestKit
import Testing

@Suite struct ContainerFormatTests {
  /// A file that holds nothing but some bytes at a place.
  private func file(_ bytes: [UInt8], at offset: Int = 0) -> [UInt8] {
    var file = [UInt8](repeating: 0, count: 65536)
    file.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    return file
  }

  private func format(_ bytes: [UInt8]) async throws -> ContainerFormat? {
    try await ContainerFormat.of(MemorySource(bytes), using: Workspace())
  }

  @Test(arguments: [
    ("QFI\u{FB}\0\0\0\u{1}", 0, ContainerFormat.qcow), ("QFI\u{FB}\0\0\0\u{2}", 0, .qcow2),
    ("QFI\u{FB}\0\0\0\u{3}", 0, .qcow2), ("QFI\u{FB}\u{FF}\0\0\u{9}", 0, .qcow2),
    ("KDMV", 0, .vmdk), ("COWD", 0, .vmdk), ("\u{BE}\u{BA}\u{FE}\u{CA}", 0, .vmdk),
    ("# Disk DescriptorFile\nversion=1\n", 0, .vmdk), ("\r\n # Disk descriptorFile\nversion=1\n", 0, .vmdk),
    ("vhdxfile", 0, .vhdx), ("conectix", 0, .vhd), ("conectix", 65536 - 512, .vhd),
    ("conectix", 65536 - 511, .vhd), ("\u{7F}\u{10}\u{DA}\u{BE}", 64, .vdi), ("QED\0", 0, .qed),
    ("WithoutFreeSpace", 0, .parallels), ("WithouFreSpacExt", 0, .parallels),
    ("Bochs Virtual HD Image", 0, .bochs), ("koly", 65536 - 512, .dmg),
    ("LUKS\u{BA}\u{BE}\0\u{1}", 0, .luks), ("LUKS\u{BA}\u{BE}\0\u{2}", 0, .luks),
  ])
  func magicsAreKnown(magic: String, offset: Int, expected: ContainerFormat) async throws {
    // One byte for each character.
    let bytes = magic.unicodeScalars.map { UInt8($0.value) }
    #expect(try await format(file(bytes, at: offset)) == expected)
    // Elsewhere it is the disk's own.
    #expect(try await format(file(bytes, at: 1024)) == nil)
  }

  @Test func layersOfOurOwnAreKnown() async throws {
    let layer = LayerFabric.committedLayer([], virtualSize: 1 << 20)
    #expect(try await format(layer) == .overlaybd)
    #expect(try await format(LayerFabric.zfile(layer, .init(.lz4))) == .zfile)
  }

  @Test(arguments: [0, 1, 7, 63, 511, 512, 513, 4096])
  func otherFilesAreNone(count: Int) async throws {
    #expect(try await format([UInt8](repeating: 0, count: count)) == nil)
    #expect(try await format((0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) }) == nil)
  }

  @Test func aRefusalNamesFormatAndWayOut() async throws {
    let source = MemorySource(file(Array("LUKS".utf8) + [0xBA, 0xBE]), name: "/disk")
    let error = await #expect(throws: BlockError.self) {
      try await ContainerFormat.refuse(source, override: "write raw-bytes:/disk")
    }
    #expect(error?.kind == .unsupported)
    let text = error?.description ?? ""
    #expect(text.contains("/disk") && text.contains("LUKS") && text.contains("raw-bytes:/disk"), "\(text)")
    try await ContainerFormat.refuse(source, allowing: [.luks], override: "")
  }
}
