import Synchronization

/// Lets a number of tasks in at a time; the others wait without a thread, first come, first served.
final class CallGate: Sendable {
  private struct State {
    var free: Int
    var waiting: [CheckedContinuation<Void, Never>] = []
    // Waiters before it are gone; the array is cut when it is empty, so that leaving stays cheap.
    var next = 0
  }

  private let hasLimit: Bool
  private let state: Mutex<State>

  /// Makes a gate for so many at a time; 0 for any number.
  init(_ count: Int) {
    hasLimit = count > 0
    state = Mutex(State(free: count))
  }

  /// Waits for its turn.
  func enter() async {
    guard hasLimit else { return }
    await withCheckedContinuation { continuation in
      let mayEnter = state.withLock { state -> Bool in
        guard state.free == 0 else {
          state.free -= 1
          return true
        }
        state.waiting.append(continuation)
        return false
      }
      if mayEnter { continuation.resume() }
    }
  }

  /// Lets the next one in.
  func leave() {
    guard hasLimit else { return }
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.next < state.waiting.count else {
        state.free += 1
        return nil
      }
      defer {
        state.next += 1
        if state.next == state.waiting.count {
          state.waiting.removeAll(keepingCapacity: true)
          state.next = 0
        }
      }
      return state.waiting[state.next]
    }
    next?.resume()
  }
}
