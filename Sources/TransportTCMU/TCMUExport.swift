import BlockCore
import Glibc
import LinuxIO
import SCSI
import Synchronization

/// A logical unit as the user's side of a backstore: a thread that takes commands off the backstore's ring.
///
/// The process may die at any time: commands that it has taken wait in the ring, and another one goes on with
/// ``takeOver(_:_:executor:counters:onReport:)``.
public final class TCMUExport: Sendable {
  /// Why an export has ended.
  public enum End: Sendable {
    /// It was stopped; what was not taken is in the ring, for the next one.
    case stopped
    /// The backstore is gone.
    case removed
    /// The ring could not be followed.
    case failed(BlockError)
  }

  /// What sysfs says of the device.
  public let entry: UIODevice.Entry
  /// What it has done so far.
  public let counters: RequestCounters
  private let queue: TCMUQueue
  /// `nil` once it was waited for.
  private let thread: Mutex<WorkerThread?>
  private let end: EndBox

  private final class EndBox: Sendable {
    let value = Mutex<End>(.stopped)
  }

  /// Begins to serve a device that nobody serves, from where the one before has stopped.
  ///
  /// Commands that a server has taken and died with are not answered: use
  /// ``takeOver(_:_:executor:counters:onReport:)`` then.
  ///
  /// - Parameters:
  ///   - unit: What answers the commands.
  ///   - device: The device.
  ///   - executor: Where commands wait that have to.
  ///   - counters: Where they are counted.
  ///   - onReport: Called, on any thread, with what a log should hold.
  /// - Throws: `unsupported` or `corrupt` if the device's memory is no ring, others by errno.
  public static func start(
    _ unit: LogicalUnit, _ device: consuming UIODevice, executor: BlockingExecutor,
    counters: RequestCounters = RequestCounters(), onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) -> TCMUExport {
    let entry = device.entry
    let queue = try TCMUQueue(unit, device, executor, counters, onReport)
    let end = EndBox()
    let thread = try WorkerThread(name: "tcmu-\(entry.number)") {
      let reason = queue.run()
      end.value.withLock { $0 = reason }
    }
    return TCMUExport(entry, counters, queue, thread, end)
  }

  private init(
    _ entry: UIODevice.Entry, _ counters: RequestCounters, _ queue: TCMUQueue,
    _ thread: consuming WorkerThread,
    _ end: EndBox
  ) {
    self.entry = entry
    self.counters = counters
    self.queue = queue
    self.thread = Mutex(thread)
    self.end = end
  }

  /// Takes no more commands: what was taken is finished, what was not stays in the ring for the next server.
  ///
  /// Returns at once; may be called on any thread, more than once.
  public func stop() { queue.stop() }

  /// Waits, on the calling thread, until every command that was taken is answered; to be called exactly once.
  ///
  /// The device is closed when the export itself goes.
  ///
  /// - Returns: Why it has ended.
  public func waitUntilEnd() -> End {
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
    return end.value.withLock { $0 }
  }
}
