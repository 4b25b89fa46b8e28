import BlockCore
import CFlushFault
import Glibc
import LinuxIO
import Synchronization
import TestKit
import Testing

/// Flushes over a disk that loses writes, and tells of it as the kernel does: once.
@Suite(.serialized) struct FlushTests {
  private let executor = BlockingExecutor(label: "flushes")
  private let scratch: Scratch
  private let file: LinuxFile

  init() throws {
    scratch = try Scratch()
    file = try LinuxFile(try scratch.write("disk", [UInt8](repeating: 0, count: 65536)), for: .readWrite)
    flush_fault_begin(dev_t(file.identity.device), ino_t(file.identity.inode))
  }

  /// Begins a flush; `true` if it was acknowledged.
  private func flush(_ done: Counter? = nil) -> Task<Bool, Never> {
    Task(executorPreference: executor) { [file] in
      defer { done?.add() }
      do {
        try await file.synchronize()
        return true
      } catch {
        return false
      }
    }
  }

  private final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .sequentiallyConsistent) }
    func add() { count.add(1, ordering: .sequentiallyConsistent) }
  }

  /// Waits, on a thread that may, until so many flushes have begun.
  private func begun(_ count: Int32) async throws {
    try await executor.run { () throws(BlockError) in flush_fault_await(count) }
  }

  /// The loss that one flush is told of is not acknowledged by the other.
  @Test func twoAtOnceAndALoss() async throws {
    defer { flush_fault_end() }
    flush_fault_hold(1)
    let first = flush()
    try await begun(1)
    let second = flush()
    // It has come when it waits, or, if nothing keeps it from that, when the disk has two.
    for _ in 0..<50 where flush_fault_under_way() < 2 { try await Task.sleep(for: .milliseconds(2)) }
    flush_fault_lose_a_write()
    flush_fault_hold(0)
    #expect(await first.value == false)
    #expect(await second.value == false)
    #expect(await flush().value == false)
    #expect(file.flushes.failure?.file == file.name)
    file.flushes.set(nil)
    #expect(await flush().value)
  }

  /// A durable write is a flush as well: what it is told of is told to nobody else.
  @Test func aDurableWriteThatFailsMarksTheFile() async throws {
    defer { flush_fault_end() }
    flush_fault_lose_a_write()
    let data = [UInt8](repeating: 1, count: 512)
    await #expect(throws: BlockError.self) {
      try await file.write(at: 0, from: data.span.bytes, isDurable: true)
    }
    #expect(await flush().value == false)
  }

  /// 200 that wait are served by one flush that began after they came, and hold no threads meanwhile.
  @Test func manyWaitForOne() async throws {
    defer { flush_fault_end() }
    flush_fault_hold(1)
    let first = flush()
    try await begun(1)
    let done = Counter()
    let others = (0..<200).map { _ in flush(done) }
    // More than there are threads get to where they wait: then something else still runs.
    let came = Counter()
    for _ in 0..<8 {
      _ = try await executor.run { () throws(BlockError) in came.add() }
    }
    #expect(came.value == 8 && done.value == 0 && flush_fault_begun() == 1)
    flush_fault_hold(0)
    #expect(await first.value)
    for other in others { #expect(await other.value) }
    // Those that came while the second one ran wait for a third.
    #expect(flush_fault_begun() <= 4)
  }

  /// What a process before was told holds for this one.
  @Test func aFailureIsHandedDown() async throws {
    defer { flush_fault_end() }
    file.flushes.set(FlushFailure(file: file.name, happenedAt: 1, cause: "Input/output error"))
    #expect(await flush().value == false)
    #expect(flush_fault_begun() == 0)
    file.flushes.set(nil)
    #expect(await flush().value)
  }

  /// Who writes it down hears of it before who asked for the flush.
  @Test func theObserverIsTold() async throws {
    defer { flush_fault_end() }
    let told = Counter()
    file.flushes.observe { _ in told.add() }
    flush_fault_lose_a_write()
    #expect(await flush().value == false)
    #expect(told.value == 1)
  }

  /// Nobody is told of it, not even who comes while it is written down, before it is written down.
  @Test func whoComesMeanwhileIsToldAfterTheObserver() async throws {
    defer { flush_fault_end() }
    let done = Counter()
    let others = Mutex<[Task<Bool, Never>]>([])
    let early = Atomic<Int>(-1)
    file.flushes.observe { _ in
      others.withLock { $0.append(flush(done)) }
      // It has come when something that came to the executor after it has run.
      for _ in 0..<50 where done.value == 0 { usleep(2000) }
      early.store(done.value, ordering: .sequentiallyConsistent)
    }
    flush_fault_lose_a_write()
    #expect(await flush().value == false)
    #expect(early.load(ordering: .sequentiallyConsistent) == 0)
    for other in others.withLock({ $0 }) { #expect(await other.value == false) }
  }
}
