import BlockCore
import Dispatch

/// Runs tasks on threads that may wait in system calls.
///
/// Swift's own pool has as many threads as the machine has processors, and a read of a cold disk on one
/// of them would hold up everything else. This executor's queue gets more threads while its own wait (up
/// to Dispatch's limit of 64).
public final class BlockingExecutor: TaskExecutor {
  private let queue: DispatchQueue

  /// Makes an executor; the label shows in debuggers.
  public init(label: String) {
    queue = DispatchQueue(label: label, attributes: .concurrent)
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }

  /// Starts a body on the executor's threads; it goes on if the caller withdraws, until the task is cancelled.
  public func start<Value: Sendable>(
    _ body: @escaping @Sendable () async throws(BlockError) -> Value
  ) -> Task<Result<Value, BlockError>, Never> {
    Task.detached(executorPreference: self) {
      do throws(BlockError) {
        return .success(try await body())
      } catch {
        return .failure(error)
      }
    }
  }

  /// Runs a body on the executor's threads, also to its end if the caller withdraws.
  ///
  /// - Throws: What the body throws.
  public func run<Value: Sendable>(
    _ body: @escaping @Sendable () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    try await start(body).value.get()
  }
}
