import Attachments
import BlockCore
import DiskFormats
import Handlers
import Images
import LinuxIO
import Logging
import SCSI
import TransportTCMU

/// What a device shows: a volume, and where it comes from.
struct ServedImage: Sendable {
  /// The disk.
  let volume: any Volume
  /// What kind of image it is: a format's name, or a backstore's subtype.
  let format: String
  /// How many layers it has.
  let layers: Int
  /// Things that a user should know although it opened.
  let notices: [String]
  /// Who is asked before a SCSI command is served from the volume.
  var interceptor: (any CommandInterceptor)?
  /// Gives the disk another size; `nil` if it cannot have one.
  var resizing: (@Sendable (UInt64) async throws(BlockError) -> Void)?
  /// Turns the volatile cache of the storage on or off; `nil` if it has none to be turned.
  var cacheSetting: (@Sendable (Bool) async throws(BlockError) -> Void)?
  /// Lets the storage go; to be called once, when no request is under way.
  var closing: @Sendable () async -> Void = {}
  /// What a handler says of the disk; `nil` for the engine's own.
  var traits: VolumeTraits?
  /// The files that were opened for it, none of a handler's; `nil` if it is not what it seems.
  var files: PinnedFiles?
  /// Its layers from the bottom up, as a pin has them.
  var layerPins: [ImagePin.Layer] = []
  /// Whether writes may be lost in a power cut until they are flushed.
  var hasWriteCache: Bool { traits?.hasWriteCache ?? !volume.geometry.isReadOnly }

  /// Opens the image of an attachment.
  ///
  /// - Throws: A `BlockError` that names file, field and offset; `conflict` for one that is not what was served.
  static func open(_ spec: AttachmentSpec, _ files: PinnedFiles) async throws(BlockError) -> ServedImage {
    let reference = ImageReference(
      spec.scheme.flatMap(ImageReference.Scheme.init(rawValue:)), spec.path, relativeTo: "/")
    // What raw: means was decided when the ID was attached first; its user may have written anything since.
    return try await open(
      reference, isReadOnly: spec.isReadOnly, takesContainers: true, isShared: spec.isShared ?? false, files)
  }

  private static func open(
    _ reference: ImageReference, isReadOnly: Bool, takesContainers: Bool, takesEncrypted: Bool = false,
    isShared: Bool = false, _ files: PinnedFiles
  ) async throws(BlockError) -> ServedImage {
    let options = ImageOptions(
      isReadOnly: isReadOnly, writesResultFile: true, takesContainers: takesContainers,
      takesEncrypted: takesEncrypted, isShared: isShared)
    let image = try await Image.open(reference, options, files.services)
    try files.settle(isRaw: image.format == .raw)
    var served = ServedImage(
      image.volume, format: image.format.rawValue, layers: image.layers.count, notices: image.notices)
    served.files = files
    served.layerPins = image.layers.map { layer in
      ImagePin.Layer(
        path: layer.path, uuid: layer.uuid, parentUUID: layer.parentUUID, byteCount: layer.virtualSize)
    }
    return served
  }

  /// A disk that is no more than a volume.
  init(_ volume: any Volume, format: String, layers: Int = 0, notices: [String] = []) {
    self.volume = volume
    self.format = format
    self.layers = layers
    self.notices = notices
    if let volume = volume as? any ResizableVolume {
      resizing = { byteCount throws(BlockError) in try await volume.resize(to: byteCount) }
    }
  }

  /// A disk whose image is not to be had any more: everything fails.
  ///
  /// - Parameters:
  ///   - byteCount: The size that it had, in bytes; 0 if nobody knows.
  ///   - blockSize: The logical block size in bytes.
  static func lost(byteCount: UInt64, blockSize: Int) -> ServedImage {
    let blockSize = blockSize == 4096 ? 4096 : 512
    let size = max(byteCount / UInt64(blockSize) * UInt64(blockSize), UInt64(blockSize))
    let reason = BlockError(
      .ioError, step: "serve", object: "a disk that is being taken apart", cause: "its data server is gone")
    return ServedImage(
      UnservedVolume(
        VolumeGeometry(byteCount: size, logicalBlockSize: blockSize, isReadOnly: false), failingWith: reason),
      format: "lost")
  }

  /// Gives the disk another size, in bytes.
  ///
  /// - Throws: `unsupported` if it cannot have one.
  func resize(to byteCount: UInt64) async throws(BlockError) {
    guard let resizing else {
      throw BlockError(
        .unsupported, step: "set the size of", object: "an image of the format \(format)",
        cause: "such an image keeps its size")
    }
    try await resizing(byteCount)
  }

  /// What the manager is told of it, but for the device.
  func status(exportName: String) -> ServerStatus {
    var status = ServerStatus(exportName: exportName)
    status.size = volume.geometry.byteCount
    status.readOnly = volume.geometry.isReadOnly
    status.format = format
    status.layers = layers
    status.notices = notices
    status.pin = pin
    status.flushFailure = files?.flushFailure
    return status
  }

  /// What the next one who opens it has to find; `nil` for a disk that stands for one that is lost.
  var pin: ImagePin? { files?.pin(layers: layerPins, volume.geometry) }

  /// Refuses what is not the image that was served: another one would appear under a mounted file system.
  ///
  /// - Throws: `conflict` with the file and what differs.
  func check(_ order: ServerOrder) throws(BlockError) {
    guard let pin else { return }
    try order.check(pin, layers: layers)
  }
}

extension ServerOrder {
  /// Holds what was opened against what was served.
  ///
  /// - Parameters:
  ///   - found: What was opened.
  ///   - layers: How many layers it has.
  /// - Throws: `conflict` with the file and what differs.
  package func check(_ found: ImagePin, layers count: Int) throws(BlockError) {
    if let pin {
      try pin.check(found)
      guard pin.version == ImagePin.observedVersion else { return }
    }
    // Of what an earlier release has served the journal has no more than this.
    guard start == .takeOver || start == .resume, byteCount > 0 else { return }
    let size = found.disk.byteCount
    guard found.disk.isReadOnly ? size == byteCount : size >= byteCount else {
      throw ImagePin.changed(spec.path, "the disk has \(size) bytes instead of \(byteCount)")
    }
    guard count == layers ?? count else {
      throw ImagePin.changed(spec.path, "the image has \(count) layers instead of \(layers ?? 0)")
    }
  }
}

// MARK: Backstores that somebody else has made

extension ServedImage {
  /// Opens what a backstore's configuration names.
  ///
  /// - Parameters:
  ///   - backstore: The backstore.
  ///   - byteCount: The size that the kernel was told, in bytes; 0 if it was told none.
  ///   - blockSize: The logical block size in bytes.
  ///   - isReopen: Whether it was served before.
  ///   - files: The host's files.
  /// - Throws: `unsupported` for a subtype that is not known; what opening it throws.
  static func open(
    _ backstore: BackstoreSpec, byteCount: UInt64, blockSize: Int, isReopen: Bool, _ files: PinnedFiles
  ) async throws(BlockError) -> ServedImage {
    guard blockSize == 512 || blockSize == 4096 else {
      throw BlockError(
        .unsupported, step: "serve", object: backstore.configuration,
        cause: "blocks of \(blockSize) bytes are not known", remedy: "Use 512 or 4096.")
    }
    switch BackstoreSpec.Subtype(rawValue: backstore.subtype) {
    case .overlaybd:
      return try await open(
        ImageReference(.overlaybd, backstore.overlaybdPath, relativeTo: "/"), isReadOnly: false,
        takesContainers: isReopen, files)
    case .ashlar:
      return try await open(
        try ImageReference(backstore.detail, relativeTo: "/"), isReadOnly: false, takesContainers: isReopen,
        takesEncrypted: true, files)
    case .file: return try await openFile(backstore, byteCount, blockSize, isReopen: isReopen, files)
    case .null:
      let geometry = try geometry(backstore, byteCount, blockSize)
      var image = ServedImage(NullVolume(geometry), format: "null")
      image.files = files
      return image
    case nil:
      throw BlockError(
        .unsupported, step: "serve", object: backstore.configuration,
        cause: "nobody here knows the subtype \(backstore.subtype)")
    }
  }

  /// A file as tcmu-runner's handler takes it: made if it is not there, and as large as the disk.
  private static func openFile(
    _ backstore: BackstoreSpec, _ byteCount: UInt64, _ blockSize: Int, isReopen: Bool, _ files: PinnedFiles
  ) async throws(BlockError) -> ServedImage {
    let geometry = try geometry(backstore, byteCount, blockSize)
    let path = backstore.detail
    let file: any BlockFile
    do {
      file = try await files.open(path, for: .readWrite)
    } catch  where error.kind == .notFound && !files.wasServed {
      // Not one that was served and has gone since: zeros would take the place of what it held.
      file = try await files.create(path, byteCount: geometry.byteCount)
    }
    if !isReopen { try await ImageReference.checkBackstoreFile(file) }
    // That handler reads zeros behind the file's end, and writes make it longer; a hole is the same to whoever
    // uses the disk.
    try await file.extend(to: geometry.byteCount)
    let volume = try RawVolume(
      file, isReadOnly: false, byteCount: geometry.byteCount, blockSize: geometry.logicalBlockSize)
    var image = ServedImage(volume, format: "file", notices: file.notices)
    image.files = files
    return image
  }

  private static func geometry(
    _ backstore: BackstoreSpec, _ byteCount: UInt64, _ blockSize: Int
  ) throws(BlockError) -> VolumeGeometry {
    guard byteCount > 0, byteCount % UInt64(blockSize) == 0, byteCount <= Limits.volumeBytes else {
      throw BlockError(
        .invalidArgument, step: "serve", object: backstore.configuration,
        cause:
          "its dev_size of \(byteCount) bytes is not whole blocks of \(blockSize), or no size for a disk",
        remedy: "Write dev_size=BYTES to its control file before it is enabled.")
    }
    return VolumeGeometry(
      byteCount: byteCount, logicalBlockSize: blockSize, isReadOnly: false, canDiscard: true)
  }
}
