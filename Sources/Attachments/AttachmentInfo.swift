import BlockCore

/// Everything there is to say about an attachment: what `ls --json` and `inspect --json` print.
public struct AttachmentInfo: Sendable, Hashable, Codable {
  /// The process that serves a device.
  public struct Server: Sendable, Hashable, Codable {
    /// Its process ID.
    public var pid: Int32

    /// Makes a description; the parameters are those of the properties.
    public init(pid: Int32) { self.pid = pid }
  }

  /// Where the device is mounted.
  public struct MountPoint: Sendable, Hashable, Codable {
    /// The directory.
    public var directory: String
    /// The file system's type.
    public var type: String

    /// Makes a description; the parameters are those of the properties.
    public init(directory: String, type: String) {
      self.directory = directory
      self.type = type
    }
  }

  /// What the user calls it.
  public var id: AttachmentID
  /// The device's path; `nil` until there is one.
  public var device: String?
  /// A link to the device whose name does not change.
  public var link: String?
  /// What kind of device it is: `fuse` or `tcmu`.
  public var transport: String
  /// The backstore, for `tcmu`.
  public var backstore: BackstoreSpec?
  /// Its state.
  public var state: AttachmentState
  /// The size in bytes; 0 until it is known.
  public var size: UInt64
  /// Whether writes are refused.
  public var readOnly: Bool
  /// The image, as a user may write it.
  public var image: String
  /// The image's format: `overlaybd` or `raw`.
  public var format: String?
  /// How many layers it has; 0 for a raw image.
  public var layers: Int
  /// The process that serves it; `nil` if there is none.
  public var server: Server?
  /// When it was attached: seconds since 1970-01-01 00:00:00 UTC.
  public var attachedAt: Double
  /// Why it is in a state that it should not be in.
  public var problem: String?
  /// Where it is mounted, as the daemon sees it.
  public var mounts: [MountPoint]
  /// What was asked of it so far; `nil` if nobody can tell.
  public var requests: RequestCounters.Snapshot?
  /// Things that a user should know although all went well.
  public var notices: [String]
  /// How the attach went, step by step; only in the answer to one.
  public var course: [AttachStep]?

  /// Makes a description of something that is being attached.
  public init(id: AttachmentID, image: String, readOnly: Bool, attachedAt: Double) {
    self.id = id
    self.image = image
    self.readOnly = readOnly
    self.attachedAt = attachedAt
    transport = TransportChoice.fuse.rawValue
    state = .attaching
    size = 0
    layers = 0
    mounts = []
    notices = []
  }
}
