import BlockCore
import Synchronization

/// Looks at files of which the disk may not answer.
///
/// A look cannot be called off: one that nobody waits for any longer keeps its thread until the disk answers. So looks have
/// threads of their own, no more than a limit, and a path that has not answered in time is not looked at again before it
/// has: who asks again and again takes no more threads than who asks once.
public final class FileLooks: Sendable {
  private struct Look {
    let path: String
    var isOverdue = false
  }

  private struct State {
    var looks: [UInt64: Look] = [:]
    var last: UInt64 = 0
  }

  private let executor: BlockingExecutor
  private let limit: Int
  private let clock: any HostClock
  private let state = Mutex(State())

  /// Makes a place to look from.
  ///
  /// - Parameters:
  ///   - limit: Looks at a time.
  ///   - clock: The host's clock.
  public init(limit: Int = Limits.fileLooks, clock: any HostClock) {
    executor = BlockingExecutor(label: "ashlar looks", limit: limit)
    self.limit = limit
    self.clock = clock
  }

  /// Runs a body that looks at a file, or at what stands beside it, on a thread that may wait.
  ///
  /// - Parameters:
  ///   - path: The file's path.
  ///   - step: What is being done.
  ///   - object: To what.
  ///   - deadline: How long it is waited for; the body runs on.
  /// - Throws: What the body throws; `timedOut` after the deadline, and at once while an earlier look at the path goes on
  ///   after its own; `exhausted` if there are too many looks.
  public func look<Value: Sendable>(
    at path: String, step: String, object: String, within deadline: Duration,
    _ body: @escaping @Sendable () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let number = try begin(path, step, object)
    let outcome = await Race.first(within: deadline, clock: clock) { [self] in
      let outcome = await executor.start(body).value
      state.withLock { $0.looks[number] = nil }
      return outcome
    }
    guard let outcome else {
      state.withLock { $0.looks[number]?.isOverdue = true }
      throw unanswered(path, step, object, "it could not be looked at within \(deadline)")
    }
    return try outcome.get()
  }

  private func begin(_ path: String, _ step: String, _ object: String) throws(BlockError) -> UInt64 {
    let (number, isOverdue) = state.withLock { state -> (UInt64?, Bool) in
      let isOverdue = state.looks.values.contains {
        $0.isOverdue && $0.path.utf8.elementsEqual(path.utf8)
      }
      guard !isOverdue, state.looks.count < limit else { return (nil, isOverdue) }
      state.last += 1
      state.looks[state.last] = Look(path: path)
      return (state.last, false)
    }
    if let number { return number }
    if isOverdue { throw unanswered(path, step, object, "an earlier look at it has not come to an end") }
    throw BlockError(
      .exhausted, step: step, object: object, cause: "\(limit) looks at files wait for their disks already",
      remedy: "Look at what the file systems of the images do.")
  }

  private func unanswered(_ path: String, _ step: String, _ object: String, _ what: String) -> BlockError {
    BlockError(
      .timedOut, step: step, object: object, cause: "\(path) does not answer: \(what)",
      remedy: "Look at what the file system that it is in does.")
  }
}
