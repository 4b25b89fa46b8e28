import BlockCore
import Glibc
import SCSI

/// The place of one command from when it is taken off the ring until it is answered.
///
/// All that is needed of the ring is copied here, since answers are written over commands.
///
/// Proof for `@unchecked Sendable`: a slot is in one place at a time, the device thread's hands, a task of the
/// second phase, or the list of free slots, and moves between them under that list's lock or by the task's
/// creation. Nobody keeps a reference after passing it on.
public final class CommandSlot: @unchecked Sendable {
  /// The number that the kernel knows the command by.
  public internal(set) var identifier: UInt16 = 0
  /// The command descriptor block.
  public internal(set) var block = CommandBlock()
  private var pieces: UnsafeMutableBufferPointer<iovec>
  private var pieceCount = 0
  /// Bytes in the pieces of its data.
  private(set) var dataByteCount = 0

  /// Pieces that there is room for without taking memory: 1 MiB in single pages.
  private static let usualPieceCount = 256

  /// Makes an empty slot.
  public init() {
    pieces = .allocate(capacity: Self.usualPieceCount)
  }

  deinit { pieces.deallocate() }

  /// The command, whose data is where the kernel has put it.
  @inline(__always)
  public var command: Command {
    Command(cdb: block, data: DataBuffer(UnsafeBufferPointer(rebasing: pieces[0..<pieceCount])))
  }

  /// Makes room for so many pieces, and forgets those that were there.
  ///
  /// - Precondition: `count` is within ``BlockCore/Limits/piecesPerCommand``.
  @inline(__always)
  func reserve(_ count: Int) {
    forgetPieces()
    if count > pieces.count { grow(to: count) }
  }

  @inline(never)
  private func grow(to count: Int) {
    precondition(count <= Limits.piecesPerCommand, "too many pieces")
    pieces.deallocate()
    pieces = .allocate(capacity: count)
  }

  /// Adds a piece; there is room for it.
  @inline(__always)
  func append(_ piece: iovec) {
    pieces[pieceCount] = piece
    pieceCount += 1
    dataByteCount &+= piece.iov_len
  }

  /// Says that what was added is not to be touched.
  @inline(__always)
  func forgetPieces() {
    pieceCount = 0
    dataByteCount = 0
  }
}
