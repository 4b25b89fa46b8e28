import BlockCore
import BlockSim
import FuzzKit
import OverlayBD

/// The first byte chooses what the rest is taken for: a sealed layer, a warp layer, the two files of a writable
/// pair, two layers of a stack, or the index of a layer that is sound otherwise.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  FuzzKit.run {
    let workspace = Workspace()
    let disk = SimulatedDisk(seed: 1)
    var layers: [Layer] = []
    switch mode % 5 {
    case 0: layers = [try await Layer.openSealed(MemorySource(bytes), using: workspace)]
    case 1:
      let tar = MemorySource([UInt8](repeating: 7, count: 1 << 16), name: "tar")
      layers = [try await Layer.openSealed(MemorySource(bytes), target: tar, using: workspace)]
    case 2:
      // Data file first, then the index file, half each.
      let data = disk.add("data", Array(bytes.prefix(bytes.count / 2)))
      let index = MemorySource(Array(bytes.suffix(bytes.count - bytes.count / 2)), name: "index")
      layers = [try await Layer.openWritable(data: data, index: index, using: workspace)]
    case 3:
      let half = bytes.count / 2 / 512 * 512
      layers = [
        try await Layer.openSealed(MemorySource(Array(bytes[..<half])), using: workspace),
        try await Layer.openSealed(MemorySource(Array(bytes[half...])), using: workspace),
      ]
    default:
      // The upper one is laid over the lower one, each with half of the entries.
      let half = bytes.count / 32 * 16
      layers = [
        try await Layer.openSealed(layer(bytes[..<half]), using: workspace),
        try await Layer.openSealed(layer(bytes[half...]), using: workspace),
      ]
    }
    let stack = try LayerStack(layers, name: "fuzz")
    for (offset, count) in FuzzKit.probes(of: stack.geometry.byteCount, unit: 512) {
      _ = try await stack.read(at: offset, byteCount: count, using: workspace)
    }
    _ = try await stack.dataExtents()
  }
  return 0
}

/// A layer with 64 sectors of data and an index of what is given.
private func layer(_ entries: ArraySlice<UInt8>) -> MemorySource {
  let index = Array(entries.prefix(entries.count / 16 * 16))
  let data = [UInt8](repeating: 9, count: 64 * 512)
  func block(_ flags: UInt32, indexOffset: Int, indexCount: Int) -> [UInt8] {
    var bytes: [UInt8] = Array("LSMT".utf8) + [0, 1, 2, 0]
    bytes += [0x65, 0x7E, 0x63, 0xD2, 0x94, 0x44, 0x08, 0x4C, 0xA2, 0xD2, 0xC8, 0xEC, 0x4F, 0xCF, 0xAE, 0x8A]
    bytes += [UInt8](repeating: 0, count: 4096 - bytes.count)
    FuzzKit.put(flags, into: &bytes, at: 28)
    FuzzKit.put(UInt32(indexOffset), into: &bytes, at: 32)
    FuzzKit.put(UInt32(indexCount), into: &bytes, at: 40)
    FuzzKit.put(1 << 24, into: &bytes, at: 48)
    return bytes
  }
  let offset = 4096 + data.count
  return MemorySource(
    block(7, indexOffset: 0, indexCount: 0) + data + index
      + block(6, indexOffset: offset, indexCount: index.count / 16))
}
