import BlockCore
import Glibc

/// One SCSI command as a transport took it from its ring: the CDB, and the memory that its data goes to or
/// comes from.
public struct Command: Sendable {
  /// The command descriptor block; what is behind its end reads as zeros.
  public var cdb: CommandBlock
  /// The data buffer: data-out of a write, data-in of a read.
  ///
  /// Its length is what the initiator expects to be transferred, which may differ from what the CDB says (SAM-5, 5.4.2).
  public var data: DataBuffer

  /// Makes a command; the parameters are those of the properties.
  @inlinable
  public init(cdb: CommandBlock, data: DataBuffer) {
    self.cdb = cdb
    self.data = data
  }
}

/// A command descriptor block of up to 32 bytes, kept inline.
public struct CommandBlock: Sendable {
  /// The longest CDB that is kept; a longer one keeps its first bytes, which is enough to refuse it.
  public static let capacity = 32

  /// The bytes; zeros behind ``count``.
  public var bytes: InlineArray<32, UInt8>
  /// How many of them the initiator sent.
  public var count: Int

  /// An empty block, for a transport to fill.
  @inlinable
  public init() {
    bytes = InlineArray(repeating: 0)
    count = 0
  }

  /// The operation code.
  @inlinable
  public var operationCode: UInt8 { bytes[0] }
}

/// A command's data: pieces of memory that are one stream of bytes together.
///
/// Proof for `@unchecked Sendable`: a buffer refers to memory that belongs to one command. Whoever holds the
/// command, its queue's thread or the task that the thread handed it to, is the only one who touches that memory
/// until the command is answered.
public struct DataBuffer: @unchecked Sendable {
  /// The pieces, in order; they outlive the command.
  public let pieces: UnsafeBufferPointer<iovec>
  /// Bytes in all of them.
  public let byteCount: Int

  /// Makes a buffer of pieces.
  @inlinable
  public init(_ pieces: UnsafeBufferPointer<iovec>) {
    self.pieces = pieces
    byteCount = pieces.reduce(0) { $0 &+ $1.iov_len }
  }

  /// No data.
  public static let none = DataBuffer(UnsafeBufferPointer(start: nil, count: 0))
}
