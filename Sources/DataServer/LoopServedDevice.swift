import Attachments
import BlockCore
import Handlers
import Images
import LinuxIO
import Logging
import Synchronization
import TransportFUSE

/// An image over FUSE, and the loop device on top.
final class LoopServedDevice: ServedDevice {
  private let initialStatus: ServerStatus
  private let image: ServedImage
  private let export: FUSEExport
  // The loop device goes when the last one who has it open closes it; this is our part in that.
  private let loop: Mutex<LoopDevice?>

  /// Opens an order's image and makes the device.
  ///
  /// - Parameters:
  ///   - order: What the manager has ordered.
  ///   - handler: What opens the disk; `nil` for the engine's own.
  ///   - record: Where a flush that fails is written down.
  ///   - log: Where trouble goes.
  ///   - onConnection: Told the number of the FUSE connection as soon as there is one; nothing is asked of it before.
  ///   - onStatusChange: Called, on any thread, when the status is another one.
  /// - Throws: A `BlockError`; nothing is left then.
  static func make(
    _ order: ServerOrder, _ handler: (any Handler)?, _ record: FlushRecord?, log: Logger,
    onConnection: (UInt32) async -> Void,
    onStatusChange: @escaping @Sendable () -> Void
  ) async throws(BlockError) -> LoopServedDevice {
    let executor = BlockingExecutor.requests(order)
    let files = PinnedFiles(
      LinuxFileSystem(), for: order, record: record, onReport: { log.error("\($0)") },
      onChange: onStatusChange)
    let image = try await withTaskExecutorPreference(executor) { () async throws(BlockError) in
      guard let handler else { return try await ServedImage.open(order.spec, files) }
      // What follows the handler's name is the path of the order.
      var opening = HandlerOpening(order.spec.path)
      opening.isReadOnly = order.spec.isReadOnly
      return try await ServedImage.open(handler, opening, files, log)
    }
    try image.check(order)
    for notice in image.notices { log.notice("\(notice)") }
    let limiter = LogLimiter(log)
    let started = try FUSEExport.start(
      image.volume, name: order.exportName, queueCount: order.queueCount, executor: executor
    ) { message in limiter.warning(message) }
    let export = started.export
    let connection = started.connection
    // Whoever kills us while we open the file has to be able to end the connection: nobody else answers then.
    await onConnection(connection)
    let file = try started.openFile()
    let geometry = image.volume.geometry
    let loop = try export.settingUp { () throws(BlockError) in
      try LoopDevice.attach(
        file,
        .init(
          isReadOnly: geometry.isReadOnly, blockSize: geometry.logicalBlockSize, label: "ashlar:\(order.id)"))
    }
    // From here on the loop device alone holds the file: a process that is killed must not have to close
    // a file that it serves itself.
    try file.close(step: "close", object: "the exported file")
    guard loop.hasDirectIO else {
      throw BlockError(
        .unavailable, step: "set up", object: loop.path,
        cause: "the kernel does not give it direct I/O, and every byte would be cached twice",
        remedy: "Use a kernel of 5.10 or newer.")
    }

    var status = image.status(exportName: order.exportName)
    status.device = loop.path
    status.connection = connection
    return LoopServedDevice(status, image, export, loop)
  }

  private init(
    _ status: ServerStatus, _ image: ServedImage, _ export: FUSEExport, _ loop: consuming LoopDevice
  ) {
    initialStatus = status
    self.image = image
    self.export = export
    self.loop = Mutex(loop)
  }

  var status: ServerStatus {
    var status = initialStatus
    status.pin = image.pin
    status.flushFailure = image.files?.flushFailure
    return status
  }

  var counters: RequestCounters.Snapshot { export.counters }

  /// Lets the loop device go.
  ///
  /// It ends now, or when the last other one who has it open closes it.
  func release() {
    loop.withLock { $0 = nil }
  }

  func stop() throws(BlockError) {
    throw BlockError(
      .unsupported, step: "hand over", object: initialStatus.device ?? initialStatus.exportName,
      cause: "a loop device over FUSE goes with its data server")
  }

  func waitUntilEnd() -> ServedEnd {
    export.waitUntilEnd()
    return .gone
  }

  func change(_ change: DeviceChange) async throws(BlockError) {
    if case .resetFlushFailure = change {
      try image.files?.resetFlushFailure()
      return
    }
    throw BlockError(
      .unsupported, step: "change", object: initialStatus.device ?? initialStatus.exportName,
      cause: "a loop device over FUSE cannot change while it is in use",
      remedy: "Detach it and attach it anew.")
  }

  func close() async { await image.closing() }

  func descriptor() throws(BlockError) -> Descriptor? {
    try loop.withLock { loop throws(BlockError) -> Descriptor? in try loop?.duplicate() }
  }
}
