import Attachments
import BlockCore
import Handlers
import LinuxIO
import Logging
import SCSI
import Synchronization
import TransportTCMU

/// An image over the ring of a TCM-USER backstore.
///
/// The backstore and what exports it are the manager's, or somebody else's; this process answers the commands.
final class RingServedDevice: ServedDevice {
  private let initialStatus: ServerStatus
  private let image: ServedImage
  private let unit: LogicalUnit
  private let export: TCMUExport
  private let onStatusChange: @Sendable () -> Void
  private let log: Logger

  /// Opens an order's image and serves the backstore's ring.
  ///
  /// - Throws: `notFound` if the backstore is not there or not enabled, `busy` if another process serves it, and
  ///   what opening the image throws.
  static func make(
    _ order: ServerOrder, _ handler: (any Handler)?, _ record: FlushRecord?, log: Logger,
    onStatusChange: @escaping @Sendable () -> Void
  ) async throws(BlockError) -> RingServedDevice {
    guard let spec = order.spec.backstore else {
      throw BlockError(.invalidArgument, step: "serve", object: order.id.text, cause: "it has no backstore")
    }
    let backstore = Backstore(hba: spec.hba, name: spec.name)
    guard let kernel = backstore.status, let entry = UIODevice.find(backstore) else {
      throw BlockError(
        .notFound, step: "serve", object: "\(backstore)", cause: "it is not there, or not enabled")
    }
    let executor = BlockingExecutor.requests(order)
    let growth = Growth()
    let files = PinnedFiles(
      LinuxFileSystem(), for: order, record: record, onReport: { log.error("\($0)") },
      onChange: onStatusChange)
    let image = try await withTaskExecutorPreference(executor) { () async throws(BlockError) in
      guard let handler, order.start != .drain else { return try await open(order, spec, kernel, files) }
      return try await open(order, spec, kernel, handler, growth, files, log)
    }
    try image.check(order)
    for notice in image.notices { log.notice("\(notice)") }
    var options = options(backstore, kernel, image)
    if order.start != .fresh { options.settings = order.settings }
    options.onSettingsChange = onStatusChange
    let unit = LogicalUnit(image.volume, options)
    if options.settings != nil, let setting = image.cacheSetting { try await setting(!unit.isWriteThrough) }
    growth.notify(unit)
    let limiter = LogLimiter(log)
    let report: @Sendable (String) -> Void = { message in limiter.warning(message) }
    let export =
      switch order.start {
      case .fresh, .resume:
        try TCMUExport.start(unit, try UIODevice(opening: entry), executor: executor, onReport: report)
      case .takeOver, .drain: try TCMUExport.takeOver(unit, entry, executor: executor, onReport: report)
      }
    var status = image.status(exportName: order.exportName)
    status.ring = "uio\(entry.number)"
    return RingServedDevice(status, image, unit, export, onStatusChange, log)
  }

  private init(
    _ status: ServerStatus, _ image: ServedImage, _ unit: LogicalUnit, _ export: TCMUExport,
    _ onStatusChange: @escaping @Sendable () -> Void, _ log: Logger
  ) {
    initialStatus = status
    self.image = image
    self.unit = unit
    self.export = export
    self.onStatusChange = onStatusChange
    self.log = log
  }

  private static func open(
    _ order: ServerOrder, _ spec: BackstoreSpec, _ kernel: Backstore.Status, _ files: PinnedFiles
  ) async throws(BlockError) -> ServedImage {
    if order.start == .drain { return .lost(byteCount: order.byteCount, blockSize: kernel.blockSize) }
    guard spec.role == .served else { return try await ServedImage.open(order.spec, files) }
    return try await ServedImage.open(
      spec, byteCount: kernel.byteCount, blockSize: kernel.blockSize, isReopen: order.start != .fresh, files)
  }

  private static func open(
    _ order: ServerOrder, _ spec: BackstoreSpec, _ kernel: Backstore.Status, _ handler: any Handler,
    _ growth: Growth, _ files: PinnedFiles, _ log: Logger
  ) async throws(BlockError) -> ServedImage {
    guard spec.subtype == handler.subtype else {
      throw BlockError(
        .invalidArgument, step: "serve", object: spec.configuration,
        cause: "this handler is \(handler.subtype), not \(spec.subtype)")
    }
    let backstore = Backstore(hba: spec.hba, name: spec.name)
    var opening = HandlerOpening(spec.detail, byteCount: kernel.byteCount > 0 ? kernel.byteCount : nil)
    opening.blockSize = kernel.blockSize
    opening.isReopen = order.start != .fresh
    opening.maximumTransferBlocks = UInt32(clamping: kernel.maximumSectors)
    opening.serial = { backstore.serial }
    opening.onResize = { byteCount in
      log.notice("the storage of \(spec.configuration) has \(byteCount) bytes now")
      do throws(BlockError) {
        try backstore.publishSize(byteCount)
      } catch {
        // The disk has its new size all the same; only what configfs shows has not.
        log.error("\(error)")
      }
      growth.happened()
    }
    return try await ServedImage.open(handler, opening, files, log)
  }

  private static func options(
    _ backstore: Backstore, _ kernel: Backstore.Status, _ image: ServedImage
  ) -> LogicalUnit.Options {
    var options = LogicalUnit.Options()
    // rtslib sets it after the device is enabled.
    options.serial = { backstore.serial }
    options.maximumTransferBlocks = UInt32(clamping: kernel.maximumSectors)
    options.hasWriteCache = image.hasWriteCache
    options.interceptor = image.interceptor
    if let traits = image.traits {
      options.isSolidState = traits.isSolidState
      options.unmapGranularityBlocks =
        traits.discardGranularity / UInt32(image.volume.geometry.logicalBlockSize)
    }
    return options
  }

  var status: ServerStatus {
    var status = initialStatus
    status.settings = unit.settings
    status.pin = image.pin
    status.flushFailure = image.files?.flushFailure
    return status
  }

  var counters: RequestCounters.Snapshot { export.counters.snapshot }

  func release() {}

  func close() async { await image.closing() }

  func descriptor() throws(BlockError) -> Descriptor? { nil }

  func stop() { export.stop() }

  func waitUntilEnd() -> ServedEnd {
    switch export.waitUntilEnd() {
    case .removed: return .gone
    case .stopped: return .stopped
    case .failed(let error):
      log.error("\(error)")
      return .failed
    }
  }

  func change(_ change: DeviceChange) async throws(BlockError) {
    switch change {
    case .size(let byteCount):
      try await image.resize(to: byteCount)
      unit.noteCapacityChange()
      // Whoever opens it next has to find as much.
      onStatusChange()
    case .writeCache(let isOn):
      try await image.cacheSetting?(isOn)
      try await unit.setWriteCache(isOn)
    case .resetFlushFailure: try image.files?.resetFlushFailure()
    case .configuration:
      throw BlockError(
        .unsupported, step: "change", object: initialStatus.exportName,
        cause: "a device in use cannot go over to another image", remedy: "Make another backstore for it.")
    }
  }
}

/// Brings the news of another size from a handler to the logical unit, which is made after the disk was opened.
private final class Growth: Sendable {
  private let unit = Mutex<LogicalUnit?>(nil)

  /// Names the unit that is to be told.
  func notify(_ unit: LogicalUnit) {
    self.unit.withLock { $0 = unit }
  }

  /// Tells it; a size that changes before there is a unit is the one that it begins with.
  func happened() {
    unit.withLock { $0 }?.noteCapacityChange()
  }
}
