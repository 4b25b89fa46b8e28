import BlockCore
import CLinux
import Glibc
import LinuxIO
import SCSI
import Synchronization
import SystemPackage

/// The one thread that serves a backstore, and what it shares with the tasks of the second phase.
///
/// What can be served at once is served on the thread, straight between the volume and the ring's data area: no
/// allocation, no copy of ours, no switch. What has to wait takes its slot along to a task and is completed from
/// there.
final class TCMUQueue: Sendable {
  private let unit: LogicalUnit
  private let line: DeviceLine
  private let ring: TCMURing
  private let executor: BlockingExecutor
  private let counters: RequestCounters
  private let onReport: @Sendable (String) -> Void
  private let workspaces = WorkspacePool()
  private let slots = SlotList(limit: Limits.waitingRequestsPerQueue) { CommandSlot() }
  private let waiter: RingWaiter
  private let isStopping = Atomic(false)
  private let isGone = Atomic(false)
  /// The first thing that went wrong with the ring.
  private let failure = Mutex<BlockError?>(nil)

  /// The sense key UNIT ATTENTION.
  private static let unitAttention: UInt8 = 0x6

  init(
    _ unit: LogicalUnit, _ device: consuming UIODevice, _ executor: BlockingExecutor,
    _ counters: RequestCounters, _ onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) {
    waiter = try RingWaiter(device.descriptor.raw)
    ring = try TCMURing(device.memory, name: UIODevice.path(device.entry.number))
    self.unit = unit
    line = DeviceLine(device.descriptor)
    self.executor = executor
    self.counters = counters
    self.onReport = onReport
  }

  /// Takes no more commands; may be called on any thread.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    waiter.wake()
  }

  /// What the thread does until the device ends.
  func run() -> TCMUExport.End {
    let workspace = Workspace()
    var slot = slots.take()
    var passes: UInt32 = 0
    do throws(BlockError) {
      while !isStopping.load(ordering: .acquiring) {
        try serveAll(&slot, workspace)
        if try !waiter.wait() { noteGone() }
        // So that the kernel's count of events never comes around to what we have seen.
        passes &+= 1
        if passes % 65536 == 0, !line.readEvents() { noteGone() }
      }
    } catch {
      fail(error)
      // What was answered before is to reach its initiator all the same.
      kick()
    }
    slots.give(slot)
    slots.waitForAll()
    if let failure = failure.withLock({ $0 }) { return .failed(failure) }
    return isGone.load(ordering: .acquiring) ? .removed : .stopped
  }

  /// Serves all that is in the ring.
  @inline(__always)
  private func serveAll(_ slot: inout CommandSlot, _ workspace: Workspace) throws(BlockError) {
    var unshown = UnshownAnswers()
    while !isStopping.load(ordering: .relaxed) {
      let result: CommandResult?
      switch try ring.next(into: slot) {
      case .empty:
        let hasReleased = try ring.releasePassive()
        if !unshown.isEmpty || hasReleased { kick() }
        // What comes meanwhile has an event of its own.
        return
      case .command: result = serve(slot, workspace)
      case .rejected(let rejection): result = rejection
      }
      if let result {
        try complete(slot, result)
        unshown.add(slot)
      } else {
        counters.noteWaiting()
        // The last free slot may be one that waits for an answer of ours.
        if !unshown.isEmpty { kick() }
        unshown = UnshownAnswers()
        slot = slots.take()
      }
      if unshown.isEnough {
        kick()
        unshown = UnshownAnswers()
      }
    }
    if !unshown.isEmpty { kick() }
  }

  /// The first phase.
  @inline(__always)
  private func serve(_ slot: CommandSlot, _ workspace: Workspace) -> CommandResult? {
    let command = slot.command
    counters.note(command)
    guard let result = unit.performNow(command, using: workspace) else {
      hand(slot)
      return nil
    }
    return finish(result, command)
  }

  /// Hands a command that has to wait to a task of its own.
  private func hand(_ slot: CommandSlot) {
    Task(executorPreference: executor) {
      do throws(BlockError) {
        let result = try await self.workspaces.withWorkspace { (workspace) async throws(BlockError) in
          await self.unit.perform(slot.command, using: workspace)
        }
        try self.complete(slot, self.finish(result, slot.command))
        self.kick()
      } catch {
        self.fail(error)
      }
      self.slots.give(slot)
    }
  }

  /// Sees to it that no byte of data-in goes out that nobody has written.
  @inline(__always)
  private func finish(_ result: CommandResult, _ command: Command) -> CommandResult {
    // A unit attention says that something has changed, and a command that carries no data is often only a question.
    if result.status == .checkCondition, result.sense?.key != Self.unitAttention, command.operation != nil {
      counters.noteFailure()
    }
    guard var count = result.dataInCount else { return result }
    count = max(0, min(count, command.data.byteCount))
    if !ring.layout.features.contains(.readLength) { command.data.clear(from: count) }
    return CommandResult(result.status, sense: result.sense, dataInCount: count)
  }

  @inline(__always)
  private func complete(_ slot: CommandSlot, _ result: CommandResult) throws(BlockError) {
    try ring.complete(slot.identifier, result, usesDescriptorSense: unit.usesDescriptorSense)
  }

  private func fail(_ error: BlockError) {
    failure.withLock { if $0 == nil { $0 = error } }
    onReport(error.description)
    stop()
  }

  /// Shows the kernel what was completed.
  @inline(__always)
  private func kick() {
    if !line.request() { noteGone() }
  }

  @inline(never)
  private func noteGone() {
    isGone.store(true, ordering: .releasing)
    stop()
  }
}

/// What was answered since the last kick.
private struct UnshownAnswers {
  private var count = 0
  private var byteCount = 0

  /// Answers, and bytes of their commands' data, that wait for one kick at most: an initiator that has the first of
  /// a deep queue sends more while we serve the rest, and its commands and ours take turns otherwise.
  private static let countPerKick = 16
  private static let bytesPerKick = 64 << 10

  var isEmpty: Bool { count == 0 }
  var isEnough: Bool { count >= Self.countPerKick || byteCount >= Self.bytesPerKick }

  @inline(__always)
  mutating func add(_ slot: CommandSlot) {
    count += 1
    byteCount += slot.dataByteCount
  }
}
