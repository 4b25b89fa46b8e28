import BlockCore
import Synchronization

/// Who is changing which bytes of a volume, so that COMPARE AND WRITE and ORWRITE, which read and then write, have
/// nobody write in between.
///
/// Writes of the second phase enter a table, for a moment under its lock. Writes of the first phase, which end
/// soon, only count themselves, each thread in a place of its own, and look whether anybody holds or wants a range
/// for himself; if so, they have to go to the second phase. Who wants a range for himself says so first and then
/// waits until none of them is left.
final class RangeClaims: Sendable {
  /// A place in the table.
  struct Claim: Sendable {
    fileprivate let number: UInt64
    fileprivate let isExclusive: Bool
  }

  private struct Entry {
    let number: UInt64
    let range: Range<UInt64>
    let isExclusive: Bool
    var isGranted = false
    var waiter: CheckedContinuation<Void, Never>?

    func excludes(_ other: Entry) -> Bool {
      (isExclusive || other.isExclusive) && range.overlaps(other.range)
    }
  }

  private struct Table {
    var nextNumber: UInt64 = 0
    /// In the order in which they came; nobody overtakes whom he would wait for.
    var entries: [Entry] = []

    func isFree(_ index: Int) -> Bool {
      !entries[..<index].contains { $0.excludes(entries[index]) }
    }
  }

  /// A counter that shares its cache line with no other.
  private struct Stripe: ~Copyable, Sendable {
    let writers = Atomic<Int>(0)
    private let padding = InlineArray<15, Int>(repeating: 0)
  }

  private let stripes = InlineArray<16, Stripe> { _ in Stripe() }
  private let exclusiveClaims = Atomic<Int>(0)
  private let wasExclusive = Atomic<Bool>(false)
  private let table = Mutex(Table())

  // MARK: The first phase

  private static func stripe(_ workspace: Workspace) -> Int {
    // Workspaces are objects of more than 16 bytes each.
    Int(UInt(bitPattern: ObjectIdentifier(workspace)) >> 5 & 15)
  }

  /// Begins a write of the first phase, if nobody has a range for himself.
  ///
  /// A write that is more than one request, and has to wait in the middle of them, is repeated from its beginning in
  /// the second phase. A COMPARE AND WRITE in between would be undone by that, so once there has been one such writes
  /// are left to the second phase as a whole.
  ///
  /// - Returns: Whether it may; then ``leave(_:)`` has to follow.
  @inline(__always)
  func enter(_ workspace: Workspace, isOneRequest: Bool) -> Bool {
    let stripe = Self.stripe(workspace)
    stripes[stripe].writers.add(1, ordering: .sequentiallyConsistent)
    if exclusiveClaims.load(ordering: .sequentiallyConsistent) == 0
      && (isOneRequest || !wasExclusive.load(ordering: .relaxed))
    {
      return true
    }
    stripes[stripe].writers.subtract(1, ordering: .releasing)
    return false
  }

  /// Ends a write that ``enter(_:isOneRequest:)`` has let begin.
  @inline(__always)
  func leave(_ workspace: Workspace) {
    stripes[Self.stripe(workspace)].writers.subtract(1, ordering: .releasing)
  }

  // MARK: The second phase

  /// Waits until a range may be changed, and keeps others from it.
  ///
  /// - Parameters:
  ///   - range: Bytes of the volume.
  ///   - exclusively: Whether to keep everybody away who changes something there, and not only those who do it
  ///     exclusively.
  /// - Returns: What ``release(_:)`` has to get in the end. Nobody may hold one of a volume and wait for another.
  func take(_ range: Range<UInt64>, exclusively: Bool = false) async -> Claim {
    if exclusively {
      wasExclusive.store(true, ordering: .relaxed)
      exclusiveClaims.add(1, ordering: .sequentiallyConsistent)
    }
    let (number, isGranted) = table.withLock { table in
      table.nextNumber += 1
      table.entries.append(Entry(number: table.nextNumber, range: range, isExclusive: exclusively))
      let last = table.entries.count - 1
      table.entries[last].isGranted = table.isFree(last)
      return (table.nextNumber, table.entries[last].isGranted)
    }
    if !isGranted { await wait(number) }
    if exclusively { await waitForFirstPhase() }
    return Claim(number: number, isExclusive: exclusively)
  }

  private func wait(_ number: UInt64) async {
    await withCheckedContinuation { continuation in
      let isGranted = table.withLock { table in
        guard let index = table.entries.firstIndex(where: { $0.number == number }),
          !table.entries[index].isGranted
        else { return true }
        table.entries[index].waiter = continuation
        return false
      }
      if isGranted { continuation.resume() }
    }
  }

  /// Waits until the writes of the first phase that have begun are over; those do not wait for anything.
  private func waitForFirstPhase() async {
    for index in stripes.indices {
      while stripes[index].writers.load(ordering: .sequentiallyConsistent) != 0 { await Task.yield() }
    }
  }

  /// Lets others have a range.
  func release(_ claim: Claim) {
    let waiters = table.withLock { table in
      table.entries.removeAll { $0.number == claim.number }
      var waiters: [CheckedContinuation<Void, Never>] = []
      for index in table.entries.indices where !table.entries[index].isGranted && table.isFree(index) {
        table.entries[index].isGranted = true
        if let waiter = table.entries[index].waiter { waiters.append(waiter) }
      }
      return waiters
    }
    if claim.isExclusive { exclusiveClaims.subtract(1, ordering: .releasing) }
    for waiter in waiters { waiter.resume() }
  }
}
