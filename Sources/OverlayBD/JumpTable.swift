import BlockCore

/// Where each block of a ZFile stands: the running sum of the lengths in its index (specification, §6.2).
///
/// Held as an eight-byte position for each group of blocks and a four-byte distance for each block, about
/// half of what a position for each block would take.
struct JumpTable: Sendable {
  private static let groupBits: UInt64 = 6

  private var groups = ContiguousArray<UInt64>()
  private var distances = ContiguousArray<UInt32>()
  /// Where the next block begins: behind the last one.
  private(set) var end: UInt64

  /// Makes a table without blocks.
  ///
  /// - Parameter start: Where the first block begins, in bytes.
  init(start: UInt64, capacity: Int) {
    end = start
    distances.reserveCapacity(capacity)
    groups.reserveCapacity(capacity >> Int(Self.groupBits) + 1)
  }

  /// How many blocks there are.
  var count: Int { distances.count }

  /// Adds a block of so many stored bytes, at most 2²⁵ so that a group's distances fit.
  mutating func append(_ byteCount: UInt32) {
    precondition(byteCount < 1 << 25, "a block of \(byteCount) bytes")
    if distances.count & ((1 << Int(Self.groupBits)) - 1) == 0 { groups.append(end) }
    distances.append(UInt32(end - groups[groups.count - 1]))
    end += UInt64(byteCount)
  }

  /// Where a block begins, in bytes; for the number behind the last one, where that ends.
  @inline(__always)
  func position(of block: UInt64) -> UInt64 {
    if block >= UInt64(distances.count) { return end }
    return groups[Int(truncatingIfNeeded: block &>> Self.groupBits)]
      &+ UInt64(distances[Int(truncatingIfNeeded: block)])
  }
}
