import BlockCore
import Dispatch
import Synchronization

/// Threads of our own that run one job each at a time; a job may wait in system calls for as long as it likes.
///
/// A job starts at once while fewer threads than the limit are busy: the thread that became idle last takes it, whose
/// stack is in the processor's cache still, or a new one. Otherwise it waits, first come, first served. Threads that
/// have had nothing to do for some time end.
package final class WorkerPool: Sendable {
  /// What a thread does.
  package enum Job: Sendable {
    /// A part of a task.
    case task(UnownedJob, UnownedTaskExecutor)
    /// A closure.
    case body(@Sendable () -> Void)

    fileprivate func run() {
      switch self {
      case .task(let job, let executor): job.runSynchronously(on: executor)
      case .body(let body): body()
      }
    }
  }

  /// A thread's place to sleep, and what wakes it.
  private final class Worker: Sendable {
    private let bell = DispatchSemaphore(value: 0)
    private let given = Mutex<Job?>(nil)

    /// Wakes the thread with a job, or to end.
    func wake(with job: Job?) {
      given.withLock { $0 = job }
      bell.signal()
    }

    /// Sleeps until somebody wakes the thread, or a time is over; says which.
    func sleep(until moment: DispatchTime) -> DispatchTimeoutResult { bell.wait(timeout: moment) }

    /// What the thread was woken with.
    func take() -> Job? {
      given.withLock { given in
        defer { given = nil }
        return given
      }
    }
  }

  private struct State {
    /// Threads without a job; the last one slept least.
    var idle: [Worker] = []
    /// Jobs without a thread.
    var waiting = JobQueue()
    var threadCount = 0
    /// Those of them that are being started, which may fail.
    var startingCount = 0
    var isClosed = false
  }

  /// How long a thread stays without a job.
  private static let idleSeconds = 10.0

  private let label: String
  private let limit: Int
  private let launch: @Sendable (String, @escaping @Sendable () -> Void) throws(BlockError) -> Void
  private let state = Mutex(State())

  /// Makes a pool without threads.
  ///
  /// - Parameters:
  ///   - label: What its threads are called.
  ///   - limit: Threads at most.
  ///   - launch: Starts a thread of a name; throws if there is none to be had.
  package init(
    label: String, limit: Int,
    launch: @escaping @Sendable (String, @escaping @Sendable () -> Void) throws(BlockError) -> Void = {
      name, body throws(BlockError) in try WorkerThread.start(name: name, body)
    }
  ) {
    self.label = label
    self.limit = limit
    self.launch = launch
  }

  /// Threads that there are now.
  var threadCount: Int { state.withLock { $0.threadCount } }

  /// Has a job done, on a thread that is not the caller's; may be called on any thread.
  package func enqueue(_ job: Job) {
    let (worker, isStart) = state.withLock { state -> (Worker?, Bool) in
      if let worker = state.idle.popLast() { return (worker, false) }
      guard state.threadCount < limit else {
        state.waiting.append(job)
        return (nil, false)
      }
      state.threadCount += 1
      state.startingCount += 1
      return (nil, true)
    }
    worker?.wake(with: job)
    if isStart { start(job) }
  }

  /// Lets the threads end when there is nothing left to do.
  func close() {
    let idle = state.withLock { state in
      state.isClosed = true
      defer { state.idle = [] }
      state.threadCount -= state.idle.count
      return state.idle
    }
    for worker in idle { worker.wake(with: nil) }
  }

  private func start(_ job: Job) {
    do throws(BlockError) {
      try launch(label) { [self] in work(job) }
      state.withLock { $0.startingCount -= 1 }
    } catch {
      giveAway(job)
    }
  }

  /// Finds somebody else for a job for which there was no thread to be had: whoever is there does it, and if that is nobody,
  /// Dispatch waits until it gets one.
  private func giveAway(_ job: Job) {
    let (worker, orphans) = state.withLock { state -> (Worker?, [Job]) in
      state.threadCount -= 1
      state.startingCount -= 1
      if let worker = state.idle.popLast() { return (worker, []) }
      guard state.threadCount == state.startingCount else {
        state.waiting.append(job)
        return (nil, [])
      }
      var orphans = [job]
      // Nobody is left who would come to them; those who are being started have a job each.
      while let next = state.waiting.popFirst() { orphans.append(next) }
      return (nil, orphans)
    }
    worker?.wake(with: job)
    for job in orphans { DispatchQueue.global().async { job.run() } }
  }

  /// What a thread does until it ends.
  private func work(_ first: Job) {
    let worker = Worker()
    var next: Job? = first
    while let job = next {
      job.run()
      next = nextJob(for: worker)
    }
  }

  /// Waits for a job; `nil` if the thread is to end.
  private func nextJob(for worker: Worker) -> Job? {
    let (job, isLast) = state.withLock { state -> (Job?, Bool) in
      if let job = state.waiting.popFirst() { return (job, false) }
      if state.isClosed {
        state.threadCount -= 1
        return (nil, true)
      }
      state.idle.append(worker)
      return (nil, false)
    }
    if job != nil || isLast { return job }
    if worker.sleep(until: .now() + Self.idleSeconds) == .success { return worker.take() }
    let isEnd = state.withLock { state in
      guard let place = state.idle.firstIndex(where: { $0 === worker }) else { return false }
      state.idle.remove(at: place)
      state.threadCount -= 1
      return true
    }
    if isEnd { return nil }
    // Somebody has chosen this thread in the last moment and is about to wake it.
    _ = worker.sleep(until: .distantFuture)
    return worker.take()
  }
}

/// Jobs in the order in which they came; takes no memory once it has been as long as it gets.
private struct JobQueue {
  private var jobs: [WorkerPool.Job?] = []
  private var head = 0

  mutating func append(_ job: WorkerPool.Job) {
    // What was taken makes room when that is more than half.
    if jobs.count == jobs.capacity, head > jobs.count / 2 {
      jobs.removeSubrange(..<head)
      head = 0
    }
    jobs.append(job)
  }

  mutating func popFirst() -> WorkerPool.Job? {
    guard head < jobs.count else { return nil }
    defer {
      jobs[head] = nil
      head += 1
      if head == jobs.count {
        jobs.removeAll(keepingCapacity: true)
        head = 0
      }
    }
    return jobs[head]
  }
}
