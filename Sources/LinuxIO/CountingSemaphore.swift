import Dispatch

/// Counts what is free, and lets a thread wait for it.
public final class CountingSemaphore: Sendable {
  private let semaphore: DispatchSemaphore
  private let count: Int

  /// Makes a semaphore with so many free.
  public init(_ count: Int) {
    // Made empty and filled: Dispatch traps on a semaphore that goes with less than it began with.
    semaphore = DispatchSemaphore(value: 0)
    self.count = count
    for _ in 0..<count { semaphore.signal() }
  }

  /// Takes one; waits, on the calling thread, if none is free.
  public func wait() { semaphore.wait() }

  /// Gives one back.
  public func signal() { semaphore.signal() }
}
