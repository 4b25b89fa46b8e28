import BlockCore
import Glibc
import SCSI

extension Command {
  /// What a command asks of the volume, as counters know it (SBC-3, 5); `nil` for a command that asks about it.
  @inline(__always)
  var operation: BlockRequest.Operation? {
    switch cdb.operationCode {
    // READ (6), (10), (12), (16).
    case 0x08, 0x28, 0xA8, 0x88: .read
    // WRITE (6), (10), (12), (16); WRITE AND VERIFY (10), (12), (16); COMPARE AND WRITE.
    case 0x0A, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x89: .write
    // SYNCHRONIZE CACHE (10), (16).
    case 0x35, 0x91: .flush
    // UNMAP.
    case 0x42: .discard
    // WRITE SAME (10), (16).
    case 0x41, 0x93: .writeZeroes
    default: nil
    }
  }
}

extension RequestCounters {
  /// Counts a command.
  @inline(__always)
  func note(_ command: Command) {
    guard let operation = command.operation else { return }
    note(BlockRequest(operation, at: 0, byteCount: UInt64(command.data.byteCount)))
  }
}

extension DataBuffer {
  /// Puts zeros into all bytes from an offset on.
  package func clear(from offset: Int) {
    var toKeep = offset
    for piece in pieces {
      let kept = min(toKeep, piece.iov_len)
      toKeep -= kept
      if let base = piece.iov_base { memset(base + kept, 0, piece.iov_len - kept) }
    }
  }
}
