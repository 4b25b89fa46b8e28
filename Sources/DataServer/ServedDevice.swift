import Attachments
import BlockCore
import Handlers
import LinuxIO
import Logging

/// Why a device is served no more.
enum ServedEnd: Sendable {
  /// It is gone.
  case gone
  /// It was to be: another process goes on.
  case stopped
  /// It could not be.
  case failed
}

/// A device that this process serves: an image, and what shows it to the kernel.
protocol ServedDevice: AnyObject, Sendable {
  /// What there is to say of it to the manager.
  var status: ServerStatus { get }
  /// What was asked of it so far.
  var counters: RequestCounters.Snapshot { get }

  /// Lets go of what keeps the device, where the data server does.
  func release()

  /// Takes no more requests: another process goes on with the device.
  ///
  /// ``waitUntilEnd()`` returns when everything that was taken is answered.
  ///
  /// - Throws: `unsupported` for a device that ends with its process.
  func stop() throws(BlockError)

  /// Waits, on the calling thread, until no more is served; to be called exactly once.
  func waitUntilEnd() -> ServedEnd

  /// Another descriptor of the device, where we keep one that keeps the device.
  ///
  /// - Throws: By errno.
  func descriptor() throws(BlockError) -> Descriptor?

  /// Changes the device while it is in use.
  ///
  /// - Throws: `unsupported` for what it cannot do.
  func change(_ change: DeviceChange) async throws(BlockError)

  /// Lets the storage go; to be called once, when the device is gone.
  func close() async
}

/// Makes what an order asks for.
///
/// - Parameters:
///   - order: What the manager has ordered.
///   - handler: What opens the disk; `nil` for the engine's own.
///   - record: Where a flush that fails is written down; `nil` for nowhere.
///   - log: Where trouble goes.
///   - onConnection: Told the number of a FUSE connection as soon as there is one; nothing is asked of it before.
///   - onStatusChange: Called, on any thread, when the status is another one.
/// - Throws: A `BlockError`; nothing of ours is left then.
func makeServedDevice(
  _ order: ServerOrder, _ handler: (any Handler)?, _ record: FlushRecord?, log: Logger,
  onConnection: (UInt32) async -> Void,
  onStatusChange: @escaping @Sendable () -> Void
) async throws(BlockError) -> any ServedDevice {
  if order.spec.backstore == nil {
    return try await LoopServedDevice.make(
      order, handler, record, log: log, onConnection: onConnection, onStatusChange: onStatusChange)
  }
  return try await RingServedDevice.make(order, handler, record, log: log, onStatusChange: onStatusChange)
}

extension BlockingExecutor {
  /// Runs the requests of a device that have to wait.
  static func requests(_ order: ServerOrder) -> BlockingExecutor {
    // A read that misses the page cache takes the disk less time than two processors take to change their threads.
    BlockingExecutor(label: "waiting requests", eager: max(order.queueCount, 2))
  }
}
