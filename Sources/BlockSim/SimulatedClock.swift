import BlockCore
import Synchronization

/// A clock that stands still until it is moved.
public final class SimulatedClock: HostClock {
  private struct Sleeper {
    let wakeTime: Duration
    let continuation: CheckedContinuation<Void, any Error>
  }

  private struct State {
    var now: Duration
    var sleepers: [UInt64: Sleeper] = [:]
    var nextID: UInt64 = 0
  }

  private let state: Mutex<State>
  private let epoch: Duration

  /// Makes a clock that shows a moment; `epoch` is the time since 1970 at its zero.
  public init(now: Duration = .zero, epoch: Duration = .seconds(1_750_000_000)) {
    state = Mutex(State(now: now))
    self.epoch = epoch
  }

  public var now: Duration { state.withLock { $0.now } }

  public var sinceEpoch: Duration { epoch + now }

  /// How many tasks sleep by this clock.
  public var sleeperCount: Int { state.withLock { $0.sleepers.count } }

  /// Moves the clock on and wakes whoever's time has come.
  public func advance(by time: Duration) {
    let due = state.withLock { state in
      state.now += time
      let due = state.sleepers.filter { $0.value.wakeTime <= state.now }
      for id in due.keys { state.sleepers.removeValue(forKey: id) }
      return due.values.sorted { $0.wakeTime < $1.wakeTime }
    }
    for sleeper in due { sleeper.continuation.resume() }
  }

  public func sleep(until moment: Duration) async throws {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let isDue = state.withLock { state in
          if moment <= state.now { return true }
          state.sleepers[id] = Sleeper(wakeTime: moment, continuation: continuation)
          return false
        }
        if isDue { continuation.resume() } else if Task.isCancelled { cancel(id) }
      }
    } onCancel: {
      cancel(id)
    }
  }

  private func cancel(_ id: UInt64) {
    state.withLock { $0.sleepers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
  }
}
