import BlockCore
import Glibc
import LinuxIO
import Synchronization

/// Steps that the kernel may hold for as long as it likes, waiting for a server that never answers, and out of
/// reach of any signal: run on a thread that may wait, and given up after a time.
enum BoundedStep {
  /// How long, and what to say then.
  struct Patience: Sendable {
    /// The deadline, from now.
    var time: Duration
    /// What errors call the whole of it.
    var step: String
    /// What it is done to.
    var object: String
    /// What helps when it takes too long.
    var remedy: String
  }

  /// The clock at which the deadline is reached, for a body of several steps.
  struct Deadline: Sendable {
    let moment: Duration

    /// Time that is left; not below zero.
    var rest: Duration { max(moment - LinuxClock().now, .zero) }
    /// Whether nobody waits any more.
    var hasPassed: Bool { rest == .zero }

    /// Sleeps, on the calling thread, for a time or what is left of it; false if nothing is left.
    func sleep(_ time: Duration) -> Bool {
      let (seconds, fraction) = min(time, rest).components
      var pause = timespec(tv_sec: Int(seconds), tv_nsec: Int(fraction / 1_000_000_000))
      // A signal shortens it, and the caller looks once more.
      nanosleep(&pause, nil)
      return !hasPassed
    }
  }

  /// Carries the answer from whoever is first to the one that waits.
  private final class Answer<Value: Sendable>: Sendable {
    private let waiting: Mutex<CheckedContinuation<Result<Value, BlockError>, Never>?>

    init(_ waiting: CheckedContinuation<Result<Value, BlockError>, Never>) {
      self.waiting = Mutex(waiting)
    }

    func give(_ result: Result<Value, BlockError>) {
      waiting.withLock { waiting in
        defer { waiting = nil }
        return waiting
      }?.resume(returning: result)
    }
  }

  /// Runs a body on a thread that may wait.
  ///
  /// - Throws: What the body throws; `timedOut` if it has not ended in time. It goes on then, in the kernel, and
  ///   has to look at its deadline between steps.
  static func run<Value: Sendable>(
    _ patience: Patience, _ body: @escaping @Sendable (Deadline) throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let deadline = Deadline(moment: LinuxClock().now + patience.time)
    let result = await withCheckedContinuation { continuation in
      let answer = Answer<Value>(continuation)
      Blocking.start("configfs") {
        do throws(BlockError) {
          answer.give(.success(try body(deadline)))
        } catch {
          answer.give(.failure(error))
        }
      }
      Task {
        // Nobody cancels this task; a little more than the body takes for itself.
        try await LinuxClock().sleep(for: patience.time + .milliseconds(200))
        answer.give(
          .failure(
            BlockError(
              .timedOut, step: patience.step, object: patience.object,
              cause: "the kernel has not answered for \(patience.time.components.seconds) s",
              remedy: patience.remedy)))
      }
    }
    return try result.get()
  }
}
