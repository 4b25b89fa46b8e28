import Attachments
import BlockCore
import Handlers
import Images
import LinuxIO
import Logging
import Synchronization
import TransportFUSE

/// A device that this process serves: an image, its export, and the loop device on top.
final class ServedDevice: Sendable {
  let status: ServerStatus
  private let opened: OpenedVolume
  private let export: FUSEExport
  // The loop device goes when the last one who has it open closes it; this is our part in that.
  private let loop: Mutex<LoopDevice?>

  /// Opens an order's image and makes the device.
  ///
  /// - Throws: A `BlockError`; nothing is left then.
  static func make(
    _ order: ServerOrder, _ handler: (any Handler)?, log: Logger
  ) async throws(BlockError) -> ServedDevice {
    let executor = BlockingExecutor(label: "waiting requests")
    var status = ServerStatus(exportName: order.exportName)
    let opened = try await withTaskExecutorPreference(executor) { () async throws(BlockError) in
      guard let handler else { return try await open(order.spec, &status) }
      return try await open(order.spec, handler, log)
    }
    for notice in status.notices { log.notice("\(notice)") }
    let limiter = LogLimiter(log)
    let started = try FUSEExport.start(
      opened.volume, name: order.exportName, queueCount: order.queueCount, executor: executor
    ) { message in limiter.warning(message) }
    let export = started.export
    let connection = started.connection
    let file = started.file
    let geometry = opened.volume.geometry
    let loop = try LoopDevice.attach(
      file,
      .init(
        isReadOnly: geometry.isReadOnly, blockSize: geometry.logicalBlockSize, label: "ashlar:\(order.id)"))
    // From here on the loop device alone holds the file: a process that is killed must not have to close
    // a file that it serves itself.
    try file.close(step: "close", object: "the exported file")
    guard loop.hasDirectIO else {
      throw BlockError(
        .unavailable, step: "set up", object: loop.path,
        cause: "the kernel does not give it direct I/O, and every byte would be cached twice",
        remedy: "Use a kernel of 5.10 or newer.")
    }

    status.device = loop.path
    status.connection = connection
    status.size = geometry.byteCount
    status.readOnly = geometry.isReadOnly
    return ServedDevice(status, opened, export, loop)
  }

  /// Opens an image of the engine's own, and says in the status what it is.
  private static func open(
    _ spec: AttachmentSpec, _ status: inout ServerStatus
  ) async throws(BlockError) -> OpenedVolume {
    let reference = ImageReference(
      spec.scheme.flatMap(ImageReference.Scheme.init(rawValue:)), spec.path, relativeTo: "/")
    let image = try await Image.open(
      reference, ImageOptions(isReadOnly: spec.isReadOnly, writesResultFile: true), .linux)
    status.format = image.format.rawValue
    status.layers = image.layers.count
    status.notices = image.notices
    return OpenedVolume(image.volume)
  }

  /// Opens a disk of a handler: its configuration is the path of the order.
  private static func open(
    _ spec: AttachmentSpec, _ handler: any Handler, _ log: Logger
  ) async throws(BlockError) -> OpenedVolume {
    var opening = HandlerOpening(spec.path)
    opening.isReadOnly = spec.isReadOnly
    opening.log = { log.log(level: $0.level.logLevel, "\($0.text)") }
    return try await handler.open(opening)
  }

  private init(
    _ status: ServerStatus, _ opened: OpenedVolume, _ export: FUSEExport, _ loop: consuming LoopDevice
  ) {
    self.status = status
    self.opened = opened
    self.export = export
    self.loop = Mutex(loop)
  }

  /// What was asked of it so far.
  var counters: RequestCounters.Snapshot { export.counters }

  /// Lets the loop device go.
  ///
  /// It ends now, or when the last other one who has it open closes it.
  func release() {
    loop.withLock { $0 = nil }
  }

  /// Waits, on the calling thread, until the device is gone; to be called exactly once.
  func waitUntilEnd() {
    export.waitUntilEnd()
  }

  /// Lets the storage go; the device is gone.
  func close() async {
    await opened.close()
  }

  /// Runs a body with the loop device's descriptor, if we still have it.
  func withLoopDescriptor(_ body: (Int32) throws(BlockError) -> Void) throws(BlockError) {
    let copy = try loop.withLock { loop throws(BlockError) -> Int32? in
      guard let descriptor = try loop?.duplicate() else { return nil }
      return descriptor.release()
    }
    guard let copy else { return }
    let owner = Descriptor(owning: copy)
    try body(owner.raw)
  }
}

/// Keeps a failing disk from filling the log: one line a second, and how many were left out.
final class LogLimiter: Sendable {
  private struct State {
    var lastLine: Duration?
    var suppressed = 0
  }

  private let log: Logger
  private let clock = LinuxClock()
  private let state = Mutex(State())

  init(_ log: Logger) {
    self.log = log
  }

  func warning(_ message: String) {
    let now = clock.now
    let suppressed = state.withLock { state -> Int? in
      if let last = state.lastLine, now - last < .seconds(1) {
        state.suppressed += 1
        return nil
      }
      state.lastLine = now
      defer { state.suppressed = 0 }
      return state.suppressed
    }
    guard let suppressed else { return }
    log.warning("\(message)\(suppressed > 0 ? " (and \(suppressed) more like it)" : "")")
  }
}
