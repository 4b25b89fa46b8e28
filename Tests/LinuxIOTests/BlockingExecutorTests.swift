import BlockCore
import BlockSim
import Dispatch
import Glibc
import LinuxIO
import Synchronization
import TestKit
import Testing

/// Threads that may wait: as many at once as the limit says, and nobody else is held up.
@Suite struct BlockingExecutorTests {
  /// Jobs that wait until they are let go, and that tell how many have begun.
  private final class Gate: Sendable {
    private let begun = DispatchSemaphore(value: 0)
    private let opened = DispatchSemaphore(value: 0)
    private let counts = Mutex((now: 0, most: 0))

    func pass() {
      counts.withLock {
        $0.now += 1
        $0.most = max($0.most, $0.now)
      }
      begun.signal()
      opened.wait()
      counts.withLock { $0.now -= 1 }
    }

    /// Waits until so many have begun; false if that takes too long.
    func await(_ count: Int) -> Bool {
      (0..<count).allSatisfy { _ in begun.wait(timeout: .now() + 5) == .success }
    }

    func open(_ count: Int) { for _ in 0..<count { opened.signal() } }

    var most: Int { counts.withLock { $0.most } }
  }

  private func threads(called name: String) -> Int {
    SmallFile.entries("/proc/self/task").count { SmallFile.text("/proc/self/task/\($0)/comm") == name }
  }

  @Test func allJobsUpToTheLimitWaitAtOnce() async throws {
    let executor = BlockingExecutor(label: "all at once", limit: 64)
    let gate = Gate()
    let tasks = (0..<64).map { _ in executor.start { () async throws(BlockError) in gate.pass() } }
    #expect(gate.await(64))
    gate.open(64)
    for task in tasks { _ = await task.value }
  }

  @Test func noMoreThanTheLimitWaitAtOnceAndAllHaveTheirTurn() async throws {
    let executor = BlockingExecutor(label: "two at once", limit: 2)
    let gate = Gate()
    let order = Mutex<[Int]>([])
    let done = DispatchSemaphore(value: 0)
    for number in 0..<50 {
      executor.perform {
        order.withLock { $0.append(number) }
        gate.pass()
        done.signal()
      }
    }
    #expect(gate.await(2))
    #expect(executor.threadCount == 2)
    gate.open(50)
    for _ in 0..<50 { #expect(done.wait(timeout: .now() + 5) == .success) }
    #expect(gate.most == 2)
    // Two threads may note their numbers in either order.
    #expect(zip(order.withLock { $0 }, 0..<50).allSatisfy { abs($0 - $1) <= 1 })
  }

  /// Few threads are eager, and jobs that take long have others beside them all the same.
  @Test func jobsThatWaitHoldUpNoOthers() async throws {
    let executor = BlockingExecutor(label: "eager", limit: 64, eager: 2)
    let gate = Gate()
    let tasks = (0..<100).map { _ in executor.start { () async throws(BlockError) in gate.pass() } }
    #expect(gate.await(64))
    #expect(executor.threadCount == 64)
    gate.open(100)
    #expect(gate.await(36))
    for task in tasks { _ = await task.value }
  }

  /// Jobs of any length from many sides: each is done, whatever the watching thread sees.
  @Test(arguments: [(1, 1), (1, 3), (2, 8), (8, 8)])
  func everyJobIsDone(eager: Int, limit: Int) async throws {
    let name = "every \(eager) \(limit)"
    var executor: BlockingExecutor? = BlockingExecutor(label: name, limit: limit, eager: eager)
    let done = DispatchSemaphore(value: 0)
    let most = Mutex((now: 0, most: 0))
    let (lanes, count) = (4, 1000)
    for lane in 0..<lanes {
      let pool = try #require(executor)
      let seed = Seed.of("jobs of lane \(lane), \(eager) of \(limit)")
      try WorkerThread.start(name: "lane") {
        var random = SplitMix64(seed: seed)
        for _ in 0..<count {
          let length = random.next() % 16 == 0 ? random.next() % 3000 : random.next() % 40
          pool.perform {
            most.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            if length > 0 { usleep(UInt32(length)) }
            most.withLock { $0.now -= 1 }
            done.signal()
          }
          if random.next() % 8 == 0 { usleep(UInt32(random.next() % 500)) }
        }
      }
    }
    let isDone = await Blocking.run("counts") {
      (0..<lanes * count).allSatisfy { _ in done.wait(timeout: .now() + 30) == .success }
    }
    #expect(isDone)
    #expect(most.withLock { $0.most } <= limit)
    executor = nil
    for _ in 0..<1500 where threads(called: name) > 0 { usleep(10_000) }
    #expect(threads(called: name) == 0)
  }

  /// One thread after the other is asleep, and a job goes to the one that slept least: few are used for few jobs.
  @Test func oneJobAtATimeUsesOneThread() async throws {
    let executor = BlockingExecutor(label: "one by one")
    for _ in 0..<1000 { try await executor.run { () async throws(BlockError) in } }
    // The thread that has let the caller go may not be asleep yet when the next job comes.
    #expect(executor.threadCount <= 8)
  }

  /// Two threads that cannot be started at the same moment: each job is done all the same.
  @Test func withoutThreadsAllJobsAreDone() async throws {
    let both = DispatchSemaphore(value: 0)
    let done = DispatchSemaphore(value: 0)
    for (eager, limit) in [(1, 1), (2, 2), (1, 2)] {
      let pool = WorkerPool(label: "none", limit: limit, eager: eager) { _, _ throws(BlockError) in
        // Until the other one has come, too.
        _ = both.wait(timeout: .now() + 0.2)
        throw BlockError(errno: .resourceTemporarilyUnavailable, step: "start", object: "a thread")
      }
      for _ in 0..<2 { DispatchQueue.global().async { pool.enqueue(.body { done.signal() }) } }
      both.signal()
      both.signal()
      for _ in 0..<2 { #expect(done.wait(timeout: .now() + 5) == .success, "\(eager) of \(limit)") }
    }
  }

  /// No third thread is to be had: the one that watches does what is in line behind the one that is stuck.
  @Test func withoutAThirdThreadTheLineMoves() async throws {
    let launched = Atomic<Int>(0)
    let pool = WorkerPool(label: "two", limit: 8, eager: 1) { name, body throws(BlockError) in
      guard launched.add(1, ordering: .relaxed).newValue <= 2 else {
        throw BlockError(errno: .resourceTemporarilyUnavailable, step: "start", object: "a thread")
      }
      try WorkerThread.start(name: name, body)
    }
    let gate = Gate()
    pool.enqueue(.body { gate.pass() })
    #expect(gate.await(1))
    let done = DispatchSemaphore(value: 0)
    for _ in 0..<100 { pool.enqueue(.body { done.signal() }) }
    let isDone = await Blocking.run("counts") {
      (0..<100).allSatisfy { _ in done.wait(timeout: .now() + 5) == .success }
    }
    #expect(isDone)
    gate.open(1)
  }

  /// The thread that was to watch is not to be had, and the one that could have done the job has gone to sleep meanwhile.
  @Test func withoutOneWhoWatchesTheLineMoves() async throws {
    let launched = Atomic<Int>(0)
    let (coming, failing) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let pool = WorkerPool(label: "no third", limit: 8, eager: 1) { name, body throws(BlockError) in
      guard launched.add(1, ordering: .relaxed).newValue <= 2 else {
        coming.signal()
        _ = failing.wait(timeout: .now() + 1)
        throw BlockError(errno: .resourceTemporarilyUnavailable, step: "start", object: "a thread")
      }
      try WorkerThread.start(name: name, body)
    }
    let (first, second) = (Gate(), Gate())
    let done = DispatchSemaphore(value: 0)
    pool.enqueue(.body { first.pass() })
    #expect(first.await(1))
    // Begun beside the first one, by who watched; the first is over, and another one is fresh and stuck.
    pool.enqueue(.body { second.pass() })
    #expect(second.await(1))
    first.open(1)
    let third = Gate()
    pool.enqueue(.body { third.pass() })
    #expect(third.await(1))
    try WorkerThread.start(name: "asks") { pool.enqueue(.body { done.signal() }) }
    _ = coming.wait(timeout: .now() + 1)
    second.open(1)
    usleep(50_000)
    failing.signal()
    let isDone = await Blocking.run("waits") { done.wait(timeout: .now() + 5) == .success }
    #expect(isDone)
    third.open(1)
  }

  @Test func theThreadsEndWithTheExecutor() async throws {
    let name = "ends soon"
    var executor: BlockingExecutor? = BlockingExecutor(label: name)
    let gate = Gate()
    for _ in 0..<20 { executor?.perform { gate.pass() } }
    #expect(gate.await(20))
    #expect(threads(called: name) == 20)
    gate.open(10)
    executor = nil
    gate.open(10)
    for _ in 0..<500 where threads(called: name) > 0 { usleep(10_000) }
    #expect(threads(called: name) == 0)
  }

  /// An actor whose code waits.
  private actor Waiter {
    private nonisolated let executor: BlockingActorExecutor
    private var count = 0

    init(_ executor: BlockingExecutor) { self.executor = BlockingActorExecutor(on: executor) }

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    func pass(_ gate: Gate) { gate.pass() }

    func add() -> Int {
      count += 1
      return count
    }
  }

  @Test func anActorThatWaitsHoldsUpNobodyElse() async throws {
    let executor = BlockingExecutor(label: "actors")
    let gate = Gate()
    let stuck = (0..<20).map { _ in Waiter(executor) }
    let tasks = stuck.map { actor in executor.start { () async throws(BlockError) in await actor.pass(gate) }
    }
    #expect(gate.await(20))
    let free = Waiter(executor)
    let adding = (0..<1000).map { _ in executor.start { () async throws(BlockError) in await free.add() } }
    var counts: Set<Int> = []
    for task in adding { counts.insert(try await task.value.get()) }
    #expect(counts == Set(1...1000))
    gate.open(20)
    for task in tasks { _ = await task.value }
  }
}
