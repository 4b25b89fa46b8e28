import Synchronization

/// The flushes of one file: in line, and joined.
///
/// The kernel tells a lost write to one flush of an open file and to no other, so that of two at once the second would
/// acknowledge what is lost. Here one runs at a time. Those that come meanwhile wait, as suspended tasks and not as
/// threads, for the next one, which begins after all of them came and serves them all. When one fails, nobody who waits
/// is acknowledged, and every later one fails until ``set(_:)`` says otherwise.
///
/// Every operation that may be told of a lost write has to come through here: a write with `RWF_DSYNC`, too, takes the
/// error away from the flush beside it.
public final class FlushLine: Sendable {
  private enum Turn {
    /// It is the caller's to flush.
    case lead
    /// A flush that began after the caller came is over.
    case done(Result<Void, BlockError>)
  }

  private struct State {
    var isRunning = false
    var waiting: [CheckedContinuation<Turn, Never>] = []
    var failure: FlushFailure?
    var observer: (@Sendable (FlushFailure) -> Void)?
  }

  private let state = Mutex(State())

  /// Makes the line of a file that no flush has failed of.
  public init() {}

  /// The flush that failed; `nil` if none has, or it was reset.
  public var failure: FlushFailure? { state.withLock { $0.failure } }

  /// Has every flush from now on fail with what an earlier process was told, or begin anew with `nil`.
  public func set(_ failure: FlushFailure?) {
    state.withLock { $0.failure = failure }
  }

  /// Says who is told that a flush has failed, before anybody who has asked for one is: it is ``failure`` then.
  public func observe(_ observer: @escaping @Sendable (FlushFailure) -> Void) {
    state.withLock { $0.observer = observer }
  }

  /// Flushes, or waits for a flush that begins after this call.
  ///
  /// - Parameters:
  ///   - file: The file's name.
  ///   - now: The time since 1970-01-01 00:00:00 UTC, for a failure.
  ///   - flush: Flushes; runs on the calling thread, and nobody else's runs meanwhile.
  /// - Throws: What `flush` throws; what an earlier one has thrown.
  public func join(
    _ file: String, now: () -> Duration, _ flush: () throws(BlockError) -> Void
  ) async throws(BlockError) {
    switch await turn() {
    case .done(let result): return try result.get()
    case .lead: break
    }
    // Whoever has come until now is served by this one.
    let served = state.withLock { state in
      defer { state.waiting = [] }
      return state.waiting
    }
    var result = Result<Void, BlockError>.success(())
    do throws(BlockError) {
      try flush()
    } catch {
      result = .failure(error)
    }
    finish(served, result, file, now)
    try result.get()
  }

  private func turn() async -> Turn {
    await withCheckedContinuation { continuation in
      let turn = state.withLock { state -> Turn? in
        // Also while the observer is told of one that has failed.
        if state.isRunning {
          state.waiting.append(continuation)
          return nil
        }
        if let failure = state.failure { return .done(.failure(failure.error)) }
        state.isRunning = true
        return .lead
      }
      if let turn { continuation.resume(returning: turn) }
    }
  }

  /// Answers those whom a flush has served, and lets the first of those who came meanwhile go on.
  private func finish(
    _ served: [CheckedContinuation<Turn, Never>], _ result: Result<Void, BlockError>, _ file: String,
    _ now: () -> Duration
  ) {
    var answered = served
    var next: CheckedContinuation<Turn, Never>?
    if case .failure(let error) = result {
      let failure = FlushFailure(
        file: file, happenedAt: Double(now().components.seconds), cause: error.cause)
      let observer = state.withLock { state in
        state.failure = failure
        return state.observer
      }
      observer?(failure)
      // Those who came meanwhile would be told that all is well.
      answered = state.withLock { state in
        state.isRunning = false
        defer { state.waiting = [] }
        return served + state.waiting
      }
    } else {
      next = state.withLock { state in
        if state.waiting.isEmpty {
          state.isRunning = false
          return nil
        }
        return state.waiting.removeFirst()
      }
    }
    for continuation in answered { continuation.resume(returning: .done(result)) }
    next?.resume(returning: .lead)
  }
}
