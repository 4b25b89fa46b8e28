import BlockCore
import BlockSim
import FuzzKit
import OverlayBD

/// The first byte says whether the header's digest is put right, without which no change to it is seen.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  var bytes = Array(input.dropFirst())
  if mode & 1 != 0 { repair(&bytes) }
  let file = bytes
  FuzzKit.run {
    let workspace = Workspace()
    guard let zfile = try await ZFile.openIfPresent(MemorySource(file), using: workspace) else { return }
    for (offset, count) in FuzzKit.probes(of: zfile.byteCount, unit: 1) {
      _ = try await zfile.bytes(at: offset, byteCount: count, using: workspace)
      // In two parts, as a read that is not aligned to blocks falls.
      _ = try await zfile.bytes(at: offset, byteCount: count / 3, using: workspace)
      _ = try await zfile.bytes(
        at: offset + UInt64(count / 3), byteCount: count - count / 3, using: workspace)
    }
  }
  return 0
}

/// Puts the digests of header and trailer right, and the checksum of the index.
private func repair(_ bytes: inout [UInt8]) {
  guard bytes.count >= 1024 else { return }
  for start in [0, bytes.count - 512] {
    func field(_ offset: Int) -> UInt64 {
      bytes[start + offset..<start + offset + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    let (offset, entries) = (field(40), field(48))
    if offset <= UInt64(bytes.count), entries <= (UInt64(bytes.count) - offset) / 4 {
      FuzzKit.put(
        FuzzKit.register(bytes[Int(offset)..<Int(offset + entries * 4)]), into: &bytes, at: start + 64)
    }
    FuzzKit.put(0, into: &bytes, at: start + 28)
    FuzzKit.put(FuzzKit.register(bytes[start..<start + 512]), into: &bytes, at: start + 28)
  }
}
