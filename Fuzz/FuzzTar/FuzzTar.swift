import BlockCore
import BlockSim
import FuzzKit
import OverlayBD

/// The first byte says whether the tar header's checksum is put right.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  var bytes = Array(input.dropFirst())
  if mode & 1 != 0, bytes.count >= 512 {
    bytes.replaceSubrange(148..<156, with: repeatElement(UInt8(ascii: " "), count: 8))
    let sum = String(bytes[..<512].reduce(0) { $0 + Int($1) }, radix: 8)
    bytes.replaceSubrange(148..<148 + sum.utf8.count, with: sum.utf8)
    bytes[148 + sum.utf8.count] = 0
  }
  let file = bytes
  FuzzKit.run {
    let workspace = Workspace()
    guard let tar = try await TarEnvelope.openIfPresent(MemorySource(file), using: workspace) else { return }
    for (offset, count) in FuzzKit.probes(of: tar.payload.byteCount, unit: 1) {
      _ = try await tar.payload.bytes(at: offset, byteCount: count, using: workspace)
    }
  }
  return 0
}
