import BlockCore
import BlockSim
import FuzzKit
import OverlayBD

/// Two bytes of length, so much of a gzip index, and the rest is the gzip file.
///
/// The header's lengths and its checksum are put right, or no mutation would get past them.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard input.count > 2 else { return 0 }
  let length = min(Int(input[0]) | Int(input[1]) << 8, input.count - 2)
  var index = Array(input[2..<2 + length])
  let gzip = Array(input[(2 + length)...])
  if index.count >= 333 {
    FuzzKit.put(UInt32(gzip.count), into: &index, at: 33)
    FuzzKit.put(UInt32(index.count), into: &index, at: 41)
    FuzzKit.put(FuzzKit.register(index[0..<329]), into: &index, at: 329)
  }
  let indexFile = index
  FuzzKit.run {
    let workspace = Workspace()
    let source = try await GzipSource.open(
      MemorySource(gzip), indexFile: MemorySource(indexFile, name: "index"), using: workspace)
    for (offset, count) in FuzzKit.probes(of: source.byteCount, unit: 1) {
      _ = try await source.bytes(at: offset, byteCount: count, using: workspace)
    }
  }
  return 0
}
