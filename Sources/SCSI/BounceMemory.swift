import BlockCore

/// Memory of a thread for data that does not lie in whole blocks where the transport put it, and for what a
/// command compares and copies.
final class BounceMemory: WorkspaceComponent {
  private var first = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  private var second = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  deinit {
    first.deallocate()
    second.deallocate()
  }

  /// So many bytes of memory; the same ones at each call.
  ///
  /// - Precondition: `count` is not above ``BlockCore/Limits/requestBytes``.
  func take(_ count: Int) -> UnsafeMutableRawBufferPointer { Self.grow(&first, to: count) }

  /// So many bytes beside those of ``take(_:)``.
  func takeMore(_ count: Int) -> UnsafeMutableRawBufferPointer { Self.grow(&second, to: count) }

  private static func grow(
    _ memory: inout UnsafeMutableRawBufferPointer, to count: Int
  ) -> UnsafeMutableRawBufferPointer {
    precondition(count <= Limits.requestBytes, "\(count) bytes in one step")
    if memory.count < count {
      memory.deallocate()
      // From small to full in one step: there is no third size.
      let size = count <= 16 * Limits.pageSize ? 16 * Limits.pageSize : Limits.requestBytes
      memory = .allocate(byteCount: size, alignment: Limits.pageSize)
    }
    return UnsafeMutableRawBufferPointer(rebasing: memory[..<count])
  }
}
