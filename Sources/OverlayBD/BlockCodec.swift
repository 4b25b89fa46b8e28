import BlockCore
import CLZ4
import CZstd

/// How the blocks of a ZFile are compressed.
public enum BlockCodec: UInt8, Sendable {
  /// A raw LZ4 block, without a frame.
  case lz4 = 1
  /// An ordinary zstd frame.
  case zstd = 2

  /// The most bytes that a block of so many bytes can take when compressed.
  func bound(_ blockSize: Int) -> Int {
    switch self {
    case .lz4: Int(LZ4_compressBound(CInt(blockSize)))
    case .zstd: ZSTD_compressBound(blockSize)
    }
  }

  /// Whether the beginning of a block can be had without the rest of it.
  var decompressesBeginnings: Bool { self == .lz4 }

  /// Decompresses the beginning of a block.
  ///
  /// - Parameters:
  ///   - source: All of the compressed bytes.
  ///   - target: Where the content goes; of the length that is wanted.
  /// - Returns: Whether the bytes were well formed so far and gave that length.
  /// - Precondition: ``decompressesBeginnings``.
  @inline(__always)
  func decompressBeginning(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) -> Bool {
    let count = LZ4_decompress_safe_partial(
      source.baseAddress?.assumingMemoryBound(to: CChar.self),
      target.baseAddress?.assumingMemoryBound(to: CChar.self), CInt(source.count), CInt(target.count),
      CInt(target.count))
    return Int(count) == target.count
  }

  /// Decompresses a block.
  ///
  /// - Parameters:
  ///   - source: All of the compressed bytes.
  ///   - target: Where the content goes; of the length that is expected.
  ///   - context: The thread's own, for zstd.
  /// - Returns: Whether the bytes were well formed and gave exactly the expected length.
  @inline(__always)
  func decompress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, _ context: OpaquePointer
  ) -> Bool {
    switch self {
    case .lz4:
      let count = LZ4_decompress_safe(
        source.baseAddress?.assumingMemoryBound(to: CChar.self),
        target.baseAddress?.assumingMemoryBound(to: CChar.self), CInt(source.count), CInt(target.count))
      return Int(count) == target.count
    case .zstd:
      let count = ZSTD_decompressDCtx(
        context, target.baseAddress, target.count, source.baseAddress, source.count)
      return ZSTD_isError(count) == 0 && count == target.count
    }
  }
}
