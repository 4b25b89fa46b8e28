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
}
