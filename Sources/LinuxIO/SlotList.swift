import Synchronization

/// The slots of one queue: what a request and its data are in while it is served.
///
/// A limited number is in use at a time; whoever wants one more waits until one comes back.
public final class SlotList<Slot: Sendable>: Sendable {
  private let free = Mutex<[Slot]>([])
  private let available: CountingSemaphore
  private let limit: Int
  private let make: @Sendable () -> Slot

  /// Makes a list without slots.
  ///
  /// - Parameters:
  ///   - limit: How many may be in use.
  ///   - make: Makes a slot when none is free.
  public init(limit: Int, _ make: @escaping @Sendable () -> Slot) {
    self.limit = limit
    self.make = make
    available = CountingSemaphore(limit)
  }

  /// A free slot; waits, on the calling thread, for one if all are in use.
  public func take() -> Slot {
    available.wait()
    return free.withLock { $0.popLast() } ?? make()
  }

  /// Gives a slot back.
  public func give(_ slot: Slot) {
    free.withLock { free in
      // One for the thread and a few for what waits now and then; the rest of a burst gives its memory back.
      if free.count < 4 { free.append(slot) }
    }
    available.signal()
  }

  /// Waits until no slot is in use; to be called once, and nothing may be taken afterwards.
  public func waitForAll() {
    for _ in 0..<limit { available.wait() }
  }
}
