import BlockCore
import Dispatch
import Synchronization

/// Looks at things of others, one after the other, that must not hold up who looks: what is on a dead mount never
/// answers, and no signal helps.
///
/// They are made on a thread of their own. One that does not come to an end is left to that thread, and the thread to
/// the kernel; the rest goes on with another one. What somebody still waits for is not looked at again: it costs a
/// process one thread for each such thing, however often it is asked for.
public enum BoundedLooks {
  /// The keys of looks that were given up and have not come to an end.
  private static let stuck = Mutex<Set<String>>([])

  /// Looks at some things, on the calling thread's time.
  ///
  /// - Parameters:
  ///   - items: The things.
  ///   - patience: How long one may take.
  ///   - key: What a thing is called, in this process.
  ///   - look: Looks at one; it may wait in a system call.
  /// - Returns: What was found of each, in order; `nil` for one that has not answered in time, or is still being asked
  ///   since an earlier look.
  public static func each<Item: Sendable, Found: Sendable>(
    _ items: [Item], within patience: Duration = Limits.neighbourLookTime,
    key: @escaping @Sendable (Item) -> String, _ look: @escaping @Sendable (Item) -> Found
  ) -> [Found?] {
    var found: [Found?] = []
    var patience = patience
    while found.count < items.count {
      let rest = Array(items[found.count...])
      let course = Course<Found>()
      do throws(BlockError) {
        try WorkerThread.start(name: "look") {
          for item in rest where !course.go(on: key(item), look: { look(item) }) { return }
          course.end()
        }
      } catch {
        // Without a thread nobody can be asked.
        return found + rest.map { _ in nil }
      }
      found += course.found(within: patience)
      patience = min(patience, Limits.laterNeighbourLookTime)
    }
    return found
  }

  /// The looks of one thread.
  private final class Course<Found: Sendable>: Sendable {
    private struct State {
      var found: [Found?] = []
      /// What is looked at now.
      var current: String?
      var isGivenUp = false
    }

    private let state = Mutex(State())
    private let ended = DispatchSemaphore(value: 0)

    /// Looks at one thing; says whether to go on to the next.
    func go(on key: String, look: () -> Found) -> Bool {
      let isStuck = BoundedLooks.stuck.withLock { $0.contains(key) }
      let isWanted = state.withLock { state in
        if !state.isGivenUp && isStuck { state.found.append(nil) }
        if !state.isGivenUp && !isStuck { state.current = key }
        return !state.isGivenUp
      }
      guard isWanted, !isStuck else { return isWanted }
      let found = look()
      return state.withLock { state in
        if state.isGivenUp {
          BoundedLooks.stuck.withLock { _ = $0.remove(key) }
          return false
        }
        state.found.append(found)
        state.current = nil
        return true
      }
    }

    func end() { ended.signal() }

    /// Waits for the end, as long as one look comes after the other; the last one of the answer may be one that was
    /// given up.
    func found(within patience: Duration) -> [Found?] {
      let step = DispatchTimeInterval.nanoseconds(Int(patience / .nanoseconds(1)))
      var count = 0
      while ended.wait(timeout: .now() + step) == .timedOut {
        let isOver = state.withLock { state in
          defer { count = state.found.count }
          guard state.found.count == count else { return false }
          // Between two looks the thread has only not had the processor.
          guard let current = state.current else { return false }
          state.isGivenUp = true
          state.found.append(nil)
          BoundedLooks.stuck.withLock { _ = $0.insert(current) }
          return true
        }
        if isOver { break }
      }
      return state.withLock { $0.found }
    }
  }
}
