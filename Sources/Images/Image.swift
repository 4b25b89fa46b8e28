import BlockCore
import DiskFormats
import OverlayBD

/// An opened image: a disk, and what it is made of.
public struct Image: Sendable {
  /// A layer with all that was unwrapped on the way to it.
  public struct OpenedLayer: Sendable {
    /// The file that was opened.
    public internal(set) var path: String
    /// The file's length in bytes.
    public let fileByteCount: UInt64
    /// The tar around it, if there is one.
    public let tar: TarEnvelope?
    /// The compressed file in that, if there is one.
    public let zfile: ZFile?
    /// The layer itself.
    public let layer: Layer
    /// The tar that a warp layer points into, as a path, if it is one.
    public internal(set) var targetPath: String?
    /// The gzip file around that tar, if there is one.
    public let gzip: GzipSource?

    /// The UUID in its header.
    public var uuid: String { layer.header.uuid }
    /// The UUID of the layer beneath, as its header has it.
    public var parentUUID: String { layer.header.parentUUID }
    /// The size in bytes that it gives the disk; 0 to inherit it.
    public var virtualSize: UInt64 { layer.virtualSize }
  }

  /// What kind of image it is.
  public enum Format: String, Sendable {
    /// A stack of overlaybd layers, or one of them.
    case overlaybd
    /// The bytes of a file.
    case raw
  }

  /// What it was opened by.
  public let reference: ImageReference
  /// What kind of image it is.
  public let format: Format
  /// The disk.
  public let volume: any ExtentReporting
  /// The layers from the bottom up; empty for a raw image.
  public let layers: [OpenedLayer]
  /// How many segments the merged index has; 0 for a raw image.
  public let segmentCount: Int
  /// What it is made of, and what says so: not to be written over.
  public internal(set) var files: Set<FileIdentity> = []
  /// Things that a user should know although the image opened.
  public internal(set) var notices: [String]
}

/// How an image is to be opened.
public struct ImageOptions: Sendable {
  /// Whether writes are refused even where the image would take them.
  public var isReadOnly: Bool
  /// Whether the configuration's `resultFile` is written.
  public var writesResultFile: Bool
  /// Whether a file in another disk format is opened by `raw:`: somebody has decided before that it is meant, or its
  /// user has written such a header to his disk since.
  public var takesContainers: Bool
  /// Whether an encrypted disk is no other disk format to `raw:`: where the image is opened anew at every boot, its user
  /// has written the header to his disk, and nobody knows any more what was decided at first.
  public var takesEncrypted: Bool
  /// Whether others may write to it meanwhile: a mount, or whoever has a loop device over it.
  public var isShared: Bool

  /// Makes options; the parameters are those of the properties.
  public init(
    isReadOnly: Bool, writesResultFile: Bool, takesContainers: Bool = false, takesEncrypted: Bool = false,
    isShared: Bool = false
  ) {
    self.isReadOnly = isReadOnly
    self.writesResultFile = writesResultFile
    self.takesContainers = takesContainers
    self.takesEncrypted = takesEncrypted
    self.isShared = isShared
  }
}

extension Image {
  /// Opens an image.
  ///
  /// - Parameters:
  ///   - reference: Which one.
  ///   - options: How.
  ///   - services: The host's files.
  /// - Throws: A `BlockError` that names file, field and offset; the `resultFile`, if there is one and it
  ///   is wanted, is written before.
  public static func open(
    _ reference: ImageReference, _ options: ImageOptions, _ services: HostServices
  ) async throws(BlockError) -> Image {
    let scheme = try await Recognition.format(of: reference, services)
    switch scheme {
    case .raw:
      let access: FileAccess =
        options.isReadOnly ? .readOnly : options.isShared ? .sharedReadWrite : .readWrite
      let file = try await services.files.open(reference.path, for: access)
      if !options.takesContainers {
        try await reference.checkIsNoContainer(file, allowing: options.takesEncrypted ? [.luks] : [])
      }
      return Image(
        reference: reference, format: .raw, volume: try RawVolume(file, isReadOnly: options.isReadOnly),
        layers: [], segmentCount: 0, files: [file.identity], notices: file.notices)
    case .config(let bytes):
      return try await ConfiguredImage(reference, bytes, services, options).open()
    case .layer:
      let opener = LayerOpener(services.files)
      let layer = try await opener.openLayer(at: reference.path)
      let stack = try LayerStack([layer.layer], name: reference.path)
      return Image(
        reference: reference, format: .overlaybd, volume: stack, layers: [layer],
        segmentCount: stack.segmentCount,
        files: Set([services.files.identity(of: layer.path)].compactMap(\.self)),
        notices: [])
    }
  }
}
