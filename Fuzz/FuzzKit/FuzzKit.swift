import BlockCore
import BlockSim
import CISAL
import Dispatch

/// What the fuzz targets share: running what is asynchronous to its end, and cutting up an input.
public enum FuzzKit {
  /// Runs a body to its end; an error is what most inputs come to, and says nothing.
  public static func run(_ body: @escaping @Sendable () async throws -> Void) {
    let done = DispatchSemaphore(value: 0)
    Task.detached {
      do {
        try await body()
      } catch {
        // A clear error is the right answer to bytes that are no image.
        precondition(error is BlockError, "an error that is none of ours: \(error)")
      }
      done.signal()
    }
    done.wait()
  }

  /// Reads here and there, at most so much of a source or volume, whatever size it claims to have.
  public static func probes(of byteCount: UInt64, unit: UInt64) -> [(offset: UInt64, count: Int)] {
    guard byteCount >= unit else { return [] }
    let most = min(byteCount, 64 << 10) / unit * unit
    let last = (byteCount - most) / unit * unit
    let middle = byteCount / 2 / unit * unit
    return [(0, Int(most)), (last, Int(most)), (middle, Int(min(most, (byteCount - middle) / unit * unit)))]
  }

  /// The checksum of the overlaybd formats; targets put it right, or no mutation would get past it.
  public static func register(_ bytes: ArraySlice<UInt8>, from seed: UInt32 = 0) -> UInt32 {
    var copy = Array(bytes)
    return copy.withUnsafeMutableBufferPointer { crc32_iscsi($0.baseAddress, CInt($0.count), seed) }
  }

  /// Writes a little-endian number into bytes.
  public static func put(_ value: UInt32, into bytes: inout [UInt8], at offset: Int) {
    withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(offset..<offset + 4, with: $0) }
  }
}
