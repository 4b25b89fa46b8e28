import BlockCore
import Synchronization

/// Runs tasks on threads of its own, which may wait in system calls.
///
/// Swift's own pool has as many threads as the machine has processors, and Dispatch's queues share it: a read of a
/// stalled disk on one of them holds up everything else. Here nobody is held up before as many jobs as the limit says
/// wait, and then only who comes to this executor.
public final class BlockingExecutor: TaskExecutor {
  private let pool: WorkerPool

  /// Makes an executor; it has threads only while there is something to do, and for some seconds after.
  ///
  /// - Parameters:
  ///   - label: What its threads are called: 15 bytes show in `top -H`.
  ///   - limit: Jobs at a time.
  ///   - eager: How many of them may have begun just now, if most are short: the others begin when those before them are
  ///     over, or take long; all without.
  public init(label: String, limit: Int = Limits.waitingThreads, eager: Int? = nil) {
    pool = WorkerPool(label: label, limit: limit, eager: eager)
  }

  deinit { pool.close() }

  /// Threads that there are now.
  public var threadCount: Int { pool.threadCount }

  public func enqueue(_ job: consuming ExecutorJob) {
    pool.enqueue(.task(UnownedJob(job), asUnownedTaskExecutor()))
  }

  /// Runs a body on one of the threads, without a task; returns at once.
  public func perform(_ body: @escaping @Sendable () -> Void) { pool.enqueue(.body(body)) }

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

/// Runs an actor whose code may wait in system calls, on threads of an executor: it holds up nobody but itself.
public final class BlockingActorExecutor: SerialExecutor {
  private struct State {
    var jobs: [UnownedJob] = []
    var isRunning = false
  }

  private let executor: BlockingExecutor
  private let state = Mutex(State())

  /// Makes one for an actor.
  ///
  /// - Parameter executor: Whose threads it uses, one at a time.
  public init(on executor: BlockingExecutor = Blocking.actors) {
    self.executor = executor
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let isStart = state.withLock { state in
      state.jobs.append(job)
      defer { state.isRunning = true }
      return !state.isRunning
    }
    if isStart { executor.perform { [self] in runAll() } }
  }

  private func runAll() {
    while true {
      let jobs = state.withLock { state in
        defer { state.jobs = [] }
        state.isRunning = !state.jobs.isEmpty
        return state.jobs
      }
      if jobs.isEmpty { return }
      for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
    }
  }
}
