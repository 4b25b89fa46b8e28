import BlockCore
import Glibc
import LinuxIO
import SCSI
import Synchronization

/// The command ring of a backstore: the user's side of the protocol of the kernel's target_core_user.
///
/// One thread takes commands off it (``next(into:)``); whoever has served a command completes it
/// (``complete(_:_:usesDescriptorSense:)``), in any order and on any thread. Every word that comes from the memory is checked: a ring
/// that lies ends in an error, or in a sense code for the command at fault.
///
/// Proof for `@unchecked Sendable`: `knownHead` is used only in ``next(into:)``, which one thread calls. `position`
/// is atomic and `completion` has a lock. The memory is shared with the kernel by its protocol: entries between
/// tail and head are ours, and are written only under that lock.
public final class TCMURing: @unchecked Sendable {
  /// What came off the ring.
  public enum Next {
    /// A command, in the slot.
    case command
    /// A command that cannot be served: complete it with this result.
    case rejected(CommandResult)
    /// Nothing is there.
    case empty
  }

  struct Completion {
    /// Where the next answer goes.
    var tail: UInt32
  }

  /// Where things are.
  public let layout: RingLayout
  /// What errors call it.
  public let name: String
  let memory: RingMemory
  /// Up to where entries were taken.
  let position: Atomic<UInt32>
  let completion: Mutex<Completion>
  private var knownHead: UInt32

  /// Begins at the ring's tail, where the one who served it before has stopped.
  ///
  /// - Throws: `unsupported` or `corrupt` if this is no ring.
  public init(_ memory: consuming RingMemory, name: String) throws(BlockError) {
    layout = try RingLayout(memory, name: name)
    self.name = name
    let tail = memory.loadAcquiring(RingLayout.tailOffset)
    guard tail < layout.ringByteCount, tail % RingEntry.alignment == 0 else {
      throw Self.broken(name, "its tail is \(tail), its size \(layout.ringByteCount)")
    }
    self.memory = memory
    position = Atomic(tail)
    completion = Mutex(Completion(tail: tail))
    knownHead = tail
  }

  /// Takes the next command off the ring.
  ///
  /// Only the device's thread calls it. It allocates nothing, unless a command has more pieces than any before.
  ///
  /// - Parameter slot: Where the command goes.
  /// - Throws: `corrupt` if the ring cannot be followed any further; whatever was taken can still be completed.
  @inline(__always)
  public func next(into slot: CommandSlot) throws(BlockError) -> Next {
    while true {
      let place = position.load(ordering: .relaxed)
      if place == knownHead {
        knownHead = try readHead(place)
        if place == knownHead { return .empty }
      }
      let start = layout.ringOffset + Int(place)
      guard
        let entry = RingEntry(
          memory.load(start, as: UInt32.self), available: layout.distance(from: place, to: knownHead),
          untilWrap: layout.ringByteCount - place)
      else { throw brokenEntry(place) }
      var result = Next.command
      switch entry.operation {
      case .command: result = take(entry, at: start, into: slot)
      case .padding, .taskManagement: break
      case .unknown: memory.store(RingEntry.unknownOperation, at: start + RingEntry.userFlagsOffset)
      }
      position.store(layout.advance(place, by: entry.byteCount), ordering: .releasing)
      if entry.operation == .command { return result }
    }
  }

  /// Reads how far the kernel has come.
  @inline(__always)
  private func readHead(_ place: UInt32) throws(BlockError) -> UInt32 {
    let head = memory.loadAcquiring(RingLayout.headOffset)
    guard head != place else { return head }
    let tail = memory.loadAcquiring(RingLayout.tailOffset)
    guard head < layout.ringByteCount, head % RingEntry.alignment == 0, tail < layout.ringByteCount,
      // What was taken and what is new are within one turn of the ring, or the kernel has begun it anew.
      UInt64(layout.distance(from: tail, to: place)) + UInt64(layout.distance(from: place, to: head))
        < layout.ringByteCount
    else {
      throw Self.broken(name, "its head is \(head), its tail \(tail), and entries up to \(place) were taken")
    }
    return head
  }

  /// Copies a command out of its entry.
  @inline(__always)
  private func take(_ entry: RingEntry, at start: Int, into slot: CommandSlot) -> Next {
    slot.identifier = memory.load(start + RingEntry.identifierOffset, as: UInt16.self)
    let size = UInt64(entry.byteCount)
    let count = UInt64(memory.load(start + RingEntry.pieceCountOffset, as: UInt32.self))
    // Pieces of the second buffer of a bidirectional command and of protection data follow; nothing uses them.
    let others = memory.load(start + RingEntry.otherPieceCountsOffset, as: UInt64.self)
    let pieces = count + (others & 0xFFFF_FFFF) + (others >> 32)
    slot.reserve(0)
    guard count <= Limits.piecesPerCommand,
      UInt64(RingEntry.piecesOffset) + pieces * UInt64(RingEntry.pieceByteCount) <= size,
      takeBlock(entry, at: start, into: slot)
    else { return .rejected(Self.lyingEntry) }
    slot.reserve(Int(count))
    for index in 0..<Int(count) {
      let place = start + RingEntry.piecesOffset + index * RingEntry.pieceByteCount
      let base = memory.load(place, as: UInt64.self)
      let length = memory.load(place + 8, as: UInt64.self)
      let end = UInt64(layout.byteCount)
      guard base >= layout.dataOffset, base <= end, length <= end - base else {
        slot.forgetPieces()
        return .rejected(Self.lyingEntry)
      }
      slot.append(
        iovec(
          iov_base: memory.pointer(to: Int(base), byteCount: Int(length)), iov_len: Int(length)))
    }
    return .command
  }

  /// Copies the command descriptor block; false if it is not within its entry.
  @inline(__always)
  private func takeBlock(_ entry: RingEntry, at start: Int, into slot: CommandSlot) -> Bool {
    let place = memory.load(start + RingEntry.blockOffsetOffset, as: UInt64.self)
    let end = UInt64(start) + UInt64(entry.byteCount)
    guard place >= UInt64(start + RingEntry.piecesOffset), place < end else { return false }
    let offset = Int(place)
    let available = Int(end - place)
    let operation = memory.load(offset, as: UInt8.self)
    // SPC-4, 4.2.5.1: the group, the upper 3 bits of the operation code, says how long a block is.
    var count =
      switch operation >> 5 {
      case 0: 6
      case 4: 16
      case 5: 12
      default: 10
      }
    if operation == 0x7F {
      guard available >= 8 else { return false }
      count = 8 + Int(memory.load(offset + 7, as: UInt8.self))
    }
    guard count <= available else { return false }
    var block = CommandBlock()
    block.count = min(count, CommandBlock.capacity)
    for index in 0..<block.count { block.bytes[index] = memory.load(offset + index, as: UInt8.self) }
    slot.block = block
    return true
  }

  /// What a command gets whose entry says impossible things: ABORTED COMMAND, the interface is at fault.
  private static let lyingEntry = CommandResult(.checkCondition, sense: SenseData(0xB, 0x08, 0x00))

  @inline(never)
  private func brokenEntry(_ place: UInt32) -> BlockError {
    let word = memory.load(layout.ringOffset + Int(place), as: UInt32.self)
    return Self.broken(
      name,
      "the entry at \(place) says \(word & ~7) bytes and operation \(word & 7); the head is \(knownHead)")
  }

  static func broken(_ name: String, _ cause: String) -> BlockError {
    BlockError(
      .corrupt, step: "follow the command ring of", object: name, cause: cause,
      remedy: "Reset the ring: the backstore's action/block_dev and action/reset_ring, and serve it anew.")
  }
}

extension RingLayout {
  /// Bytes from one place of the ring forward to another.
  @inline(__always)
  func distance(from one: UInt32, to other: UInt32) -> UInt32 {
    other >= one ? other - one : ringByteCount - one + other
  }

  /// The place so many bytes behind another.
  ///
  /// - Precondition: It is not beyond the ring's end.
  @inline(__always)
  func advance(_ place: UInt32, by count: UInt32) -> UInt32 {
    let next = place + count
    return next == ringByteCount ? 0 : next
  }
}
