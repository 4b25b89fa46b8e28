import BlockCore
import CLinux

/// The memory of one request: what was received, and the data that goes back.
///
/// Proof for `@unchecked Sendable`: a slot is in one place at a time, the queue thread's hands, a task of
/// the second phase, or the list of free slots, and moves between them under that list's lock or by the
/// task's creation. Nobody keeps a reference after passing it on.
final class FUSESlot: @unchecked Sendable {
  /// In front of the data: a received header, or nothing.
  static let headRoom = Limits.pageSize
  /// Bytes of all of it: what the kernel wants a reader of /dev/fuse to offer for the largest write.
  static let byteCount = headRoom + Limits.requestBytes

  /// The whole memory; pages that no request has touched take none.
  let memory: UnsafeMutableRawBufferPointer

  init() {
    memory = .allocate(byteCount: Self.byteCount, alignment: Limits.pageSize)
  }

  deinit {
    memory.deallocate()
  }

  /// Where a read's data goes, page-aligned.
  ///
  /// - Precondition: `count` is not above the largest request.
  func data(count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: memory[Self.headRoom..<Self.headRoom + count])
  }

  /// Where a write's data was received: behind its two headers.
  func writtenData(count: Int) -> UnsafeMutableRawBufferPointer {
    let start = MemoryLayout<fuse_in_header>.size + MemoryLayout<fuse_write_in>.size
    return UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + count])
  }

  /// A structure that was received behind the header.
  ///
  /// - Precondition: It was checked to be there.
  func argument<Argument: BitwiseCopyable>(_ type: Argument.Type) -> Argument {
    memory.loadUnaligned(fromByteOffset: MemoryLayout<fuse_in_header>.size, as: type)
  }

  /// The header that was received.
  var header: fuse_in_header {
    memory.loadUnaligned(fromByteOffset: 0, as: fuse_in_header.self)
  }
}
