import BlockCore
import Dispatch
import Synchronization

/// Threads of our own that run one job each at a time; a job may wait in system calls for as long as it likes.
///
/// A job starts at once while fewer threads than `eager` have a fresh one: the thread that became idle last takes it, whose
/// stack is in the processor's cache still, or a new one. Otherwise it waits, first come, first served, since many threads
/// for many short jobs only take the processors from each other. While jobs wait, one thread watches, every millisecond: a
/// job that is not over by then waits for something itself, is not fresh any more, and another one starts beside it; and
/// as long as the processors are mostly idle more and more fresh ones may run at a time, up to the limit. Threads that have
/// had nothing to do for some time end.
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

  /// What a thread is woken for.
  fileprivate enum Order: Sendable {
    case work(Job)
    case watch
    case end
  }

  private struct State {
    /// Threads without a job; the last one slept least.
    var idle: [Worker] = []
    /// Threads with a job, or that are being started for one.
    var busy: [Worker] = []
    /// Those of them whose job is not fresh.
    var slowCount = 0
    /// Jobs without a thread.
    var waiting = JobQueue()
    var threadCount = 0
    /// Those of them that are being started, which may fail.
    var startingCount = 0
    /// How often somebody has watched.
    var round: UInt32 = 0
    var isWatched = false
    var isClosed = false
    /// How many threads may have a fresh job now.
    var freshLimit: Int

    /// Whether one more may begin.
    var mayBegin: Bool { busy.count - slowCount < freshLimit }

    mutating func begin(_ worker: Worker) {
      worker.begin(round, at: busy.count)
      busy.append(worker)
    }

    mutating func end(_ worker: Worker) {
      let (place, wasSlow) = worker.finish()
      if wasSlow { slowCount -= 1 }
      let last = busy.removeLast()
      guard last !== worker else { return }
      busy[place] = last
      last.move(to: place)
    }
  }

  /// How long a thread stays without a job.
  private static let idleSeconds = 10.0
  /// How long somebody sleeps who watches, in microseconds; a job is fresh for two such rounds at most.
  ///
  /// Much longer than a short job takes, or one whose thread has lost its processor for a moment would count as waiting.
  private static let watchMicroseconds = 1000
  /// For how many rounds without a job that waits it is watched on: who waits often does so again.
  private static let quietRounds = 8

  private let label: String
  private let limit: Int
  private let eager: Int
  private let launch: @Sendable (String, @escaping @Sendable () -> Void) throws(BlockError) -> Void
  private let state: Mutex<State>

  /// Makes a pool without threads.
  ///
  /// - Parameters:
  ///   - label: What its threads are called.
  ///   - limit: Threads at most.
  ///   - eager: How many of them may have a fresh job; all without.
  ///   - launch: Starts a thread of a name; throws if there is none to be had.
  package init(
    label: String, limit: Int, eager: Int? = nil,
    launch: @escaping @Sendable (String, @escaping @Sendable () -> Void) throws(BlockError) -> Void = {
      name, body throws(BlockError) in try WorkerThread.start(name: name, body)
    }
  ) {
    self.label = label
    self.limit = limit
    self.eager = max(min(eager ?? limit, limit), 1)
    self.launch = launch
    state = Mutex(State(freshLimit: self.eager))
  }

  /// Threads that there are now.
  var threadCount: Int { state.withLock { $0.threadCount } }

  /// Has a job done, on a thread that is not the caller's; may be called on any thread.
  package func enqueue(_ job: Job) {
    let step = state.withLock { state -> (Worker, Order, isNew: Bool)? in
      if state.mayBegin, let (worker, isNew) = takeWorker(&state) {
        state.begin(worker)
        return (worker, .work(job), isNew)
      }
      state.waiting.append(job)
      guard !state.isWatched, let (worker, isNew) = takeWorker(&state) else { return nil }
      state.isWatched = true
      return (worker, .watch, isNew)
    }
    if let (worker, order, isNew) = step { give(order, to: worker, isNew: isNew) }
  }

  /// A thread that is idle, or is to be started; `nil` if there are as many as may be.
  private func takeWorker(_ state: inout State) -> (Worker, isNew: Bool)? {
    if let worker = state.idle.popLast() { return (worker, false) }
    guard state.threadCount < limit else { return nil }
    state.threadCount += 1
    state.startingCount += 1
    return (Worker(), true)
  }

  /// Has a thread do something, which is started if it is new.
  ///
  /// - Returns: Whether the thread has it; if not, it was given away.
  @discardableResult
  private func give(_ order: Order, to worker: Worker, isNew: Bool) -> Bool {
    guard isNew else {
      worker.wake(for: order)
      return true
    }
    do throws(BlockError) {
      try launch(label) { [self] in work(order, worker) }
      state.withLock { $0.startingCount -= 1 }
      return true
    } catch {
      giveAway(order, worker)
      return false
    }
  }

  /// Lets the threads end when there is nothing left to do.
  func close() {
    let idle = state.withLock { state in
      state.isClosed = true
      defer { state.idle = [] }
      state.threadCount -= state.idle.count
      return state.idle
    }
    for worker in idle { worker.wake(for: .end) }
  }

  /// Finds somebody else for what there was no thread to be had for: whoever is there does it, and if that is nobody,
  /// Dispatch waits until it gets one.
  private func giveAway(_ order: Order, _ missing: Worker) {
    let (worker, orphans) = state.withLock { state -> (Worker?, [Job]) in
      state.threadCount -= 1
      state.startingCount -= 1
      switch order {
      case .work(let job):
        state.end(missing)
        if let worker = state.idle.popLast() {
          state.begin(worker)
          return (worker, [])
        }
        state.waiting.append(job)
      case .watch:
        state.isWatched = false
        // One that had nothing to do meanwhile has left the line to us.
        if !state.waiting.isEmpty, let worker = state.idle.popLast() {
          state.isWatched = true
          return (worker, [])
        }
      case .end: break
      }
      // One that was started may have ended before that was counted.
      guard state.threadCount <= state.startingCount else { return (nil, []) }
      var orphans: [Job] = []
      // Nobody is left who would come to them; those who are being started have an order each.
      while let next = state.waiting.popFirst() { orphans.append(next) }
      return (nil, orphans)
    }
    worker?.wake(for: order)
    for job in orphans { DispatchQueue.global().async { job.run() } }
  }

  /// What a thread does until it ends.
  private func work(_ first: Order, _ worker: Worker) {
    var order = first
    while true {
      switch order {
      case .work(let job):
        job.run()
        order = next(for: worker, hasWorked: true)
      case .watch: order = watch(worker)
      case .end: return
      }
    }
  }

  /// Waits for something to do.
  private func next(for worker: Worker, hasWorked: Bool) -> Order {
    let order = state.withLock { state -> Order? in
      if hasWorked { state.end(worker) }
      if state.mayBegin, let job = state.waiting.popFirst() {
        state.begin(worker)
        return .work(job)
      }
      // Those whose jobs are fresh may not come to it.
      if !state.waiting.isEmpty, !state.isWatched {
        state.isWatched = true
        return .watch
      }
      if state.isClosed {
        state.threadCount -= 1
        return .end
      }
      state.idle.append(worker)
      return nil
    }
    if let order { return order }
    if worker.sleep(until: .now() + Self.idleSeconds) == .success { return worker.take() }
    let isEnd = state.withLock { state in
      guard let place = state.idle.firstIndex(where: { $0 === worker }) else { return false }
      state.idle.remove(at: place)
      state.threadCount -= 1
      return true
    }
    if isEnd { return .end }
    // Somebody has chosen this thread in the last moment and is about to wake it.
    _ = worker.sleep(until: .distantFuture)
    return worker.take()
  }
}

extension WorkerPool {
  /// Looks again and again which jobs take long, and starts others beside them, while any wait.
  ///
  /// - Returns: What the thread does next.
  private func watch(_ worker: Worker) -> Order {
    var quiet = 0
    var before = ProcessorUse.now
    while true {
      // Nobody wakes one who watches.
      _ = worker.sleep(until: .now() + .microseconds(Self.watchMicroseconds))
      let use = ProcessorUse.now
      let share = use.share(since: before)
      before = use
      let (steps, last) = state.withLock { state -> ([(Worker, Order, isNew: Bool)], Job?) in
        markSlow(&state)
        adjust(&state, toShare: share)
        quiet = state.waiting.isEmpty ? quiet + 1 : 0
        let steps = beginWaiting(&state)
        if state.mayBegin, let job = state.waiting.popFirst() {
          // As many threads as may be: this one works, too.
          state.isWatched = false
          state.begin(worker)
          return (steps, job)
        }
        if quiet >= Self.quietRounds {
          state.isWatched = false
          // Where nothing waits nobody sees whether it was too many.
          state.freshLimit = max(state.freshLimit / 2, eager)
        }
        return (steps, nil)
      }
      let isShort = steps.map { give($0.1, to: $0.0, isNew: $0.isNew) }.contains(false)
      if let last { return .work(last) }
      // Where no thread is to be had, this one does what it would have watched.
      if isShort { state.withLock { $0.isWatched = false } }
      if isShort || quiet >= Self.quietRounds { return next(for: worker, hasWorked: false) }
    }
  }

  /// Takes jobs from the line, and threads for them, as many as may begin.
  private func beginWaiting(_ state: inout State) -> [(Worker, Order, isNew: Bool)] {
    var steps: [(Worker, Order, isNew: Bool)] = []
    while state.mayBegin, !state.waiting.isEmpty, let (worker, isNew) = takeWorker(&state),
      let job = state.waiting.popFirst()
    {
      state.begin(worker)
      steps.append((worker, .work(job), isNew))
    }
    return steps
  }

  /// Has more run at a time while the jobs wait for a disk rather than for a processor, and fewer when it is the other way
  /// round.
  private func adjust(_ state: inout State, toShare share: Double) {
    guard !state.waiting.isEmpty else { return }
    if share < 0.2 {
      state.freshLimit = min(state.freshLimit * 2, limit)
    } else if share > 0.5 {
      state.freshLimit = max(state.freshLimit / 2, eager)
    }
  }

  private func markSlow(_ state: inout State) {
    state.round &+= 1
    for worker in state.busy where worker.isToBeSlow(in: state.round) { state.slowCount += 1 }
  }
}

/// A thread's place to sleep, what wakes it, and since when it has its job.
private final class Worker: Sendable {
  private struct Course {
    var order = WorkerPool.Order.end
    /// The round in which its job began, and its place among those that are busy.
    var began: UInt32 = 0
    var place = 0
    var isSlow = false
  }

  private let bell = DispatchSemaphore(value: 0)
  private let course = Mutex(Course())

  /// Wakes the thread.
  func wake(for order: WorkerPool.Order) {
    course.withLock { $0.order = order }
    bell.signal()
  }

  /// Sleeps until somebody wakes the thread, or a time is over; says which.
  func sleep(until moment: DispatchTime) -> DispatchTimeoutResult { bell.wait(timeout: moment) }

  /// What the thread was woken for.
  func take() -> WorkerPool.Order {
    course.withLock { course in
      defer { course.order = .end }
      return course.order
    }
  }

  /// Notes that it has a job, in a round, at a place.
  func begin(_ round: UInt32, at place: Int) {
    course.withLock { course in
      course.began = round
      course.place = place
      course.isSlow = false
    }
  }

  /// Notes that it has another place.
  func move(to place: Int) { course.withLock { $0.place = place } }

  /// Notes that its job is over; gives its place, and whether it was slow.
  func finish() -> (place: Int, wasSlow: Bool) { course.withLock { ($0.place, $0.isSlow) } }

  /// Whether its job becomes slow in a round: it has begun two rounds before, or earlier, and was not yet.
  func isToBeSlow(in round: UInt32) -> Bool {
    course.withLock { course in
      guard !course.isSlow, round &- course.began >= 2 else { return false }
      course.isSlow = true
      return true
    }
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

  var isEmpty: Bool { head == jobs.count }

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
