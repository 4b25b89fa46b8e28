import BlockCore
import SCSI

/// A program's own storage for disks: what stands behind one subtype of a backstore.
///
/// A handler opens volumes; what they do is up to it. It runs in a process of its own for each disk, so that one that
/// fails takes no other disk with it. Handlers in Swift conform to this protocol and run as `HandlerProgram`; those in
/// shared objects come as ``ForeignHandler``. `docs/handlers.md` shows how to write one.
public protocol Handler: Sendable {
  /// The token in front of the first `/` of a configuration; see ``HandlerName``.
  var subtype: String { get }
  /// What the configuration of a disk has to say, for users.
  var summary: String { get }

  /// Says whether a configuration may work, without making anything.
  ///
  /// - Parameter configuration: What stands behind the subtype's `/`.
  /// - Throws: A `BlockError` that says why it cannot.
  func check(_ configuration: String) async throws(BlockError)

  /// Opens a disk.
  ///
  /// - Throws: A `BlockError`; nothing is left open then.
  func open(_ opening: HandlerOpening) async throws(BlockError) -> OpenedVolume
}

extension Handler {
  /// Accepts every configuration: what is wrong shows at the opening.
  public func check(_ configuration: String) async throws(BlockError) {}
}

/// What a disk is opened with.
public struct HandlerOpening: Sendable {
  /// What stands behind the subtype's `/`.
  public var configuration: String
  /// The size in bytes that the disk is to have; `nil` if the handler is to say.
  public var byteCount: UInt64?
  /// Bytes of a logical block: 512 or 4096.
  public var blockSize = 512
  /// Whether nothing will be written.
  public var isReadOnly = false
  /// Whether the disk was open before, in a process that is gone: nothing may be made anew.
  public var isReopen = false
  /// Blocks of the largest transfer; 0 for no limit.
  public var maximumTransferBlocks: UInt32 = 0
  /// The unit serial number; it may be given to a disk after it was opened.
  public var serial: @Sendable () -> String = { "" }
  /// Where messages go.
  public var log: @Sendable (HandlerMessage) -> Void = { _ in }
  /// To be told the new size in bytes when the storage below has changed it.
  public var onResize: @Sendable (UInt64) -> Void = { _ in }

  /// An opening of a configuration, with the usual for all else.
  public init(_ configuration: String, byteCount: UInt64? = nil) {
    self.configuration = configuration
    self.byteCount = byteCount
  }
}

/// A message of a handler's for the log.
public struct HandlerMessage: Sendable, Hashable {
  /// How much it matters.
  public enum Level: Sendable {
    /// Something failed.
    case error
    /// Something may fail.
    case warning
    /// Something happened.
    case info
    /// For who looks for a fault.
    case debug
  }

  /// How much it matters.
  public var level: Level
  /// One line.
  public var text: String

  /// Makes a message; the parameters are those of the properties.
  public init(_ level: Level, _ text: String) {
    self.level = level
    self.text = text
  }
}

/// A disk that a handler has opened.
///
/// Only the volume is needed.
public struct OpenedVolume: Sendable {
  /// What serves reads and writes.
  public var volume: any Volume
  /// What serves SCSI commands before the usual; `nil` if nothing does.
  public var interceptor: (any CommandInterceptor)?
  /// What a SCSI disk says of itself besides the volume's geometry.
  public var traits = VolumeTraits()
  /// Gives the disk another size in bytes; `nil` if it cannot have one.
  ///
  /// The volume's geometry has the new size when it returns.
  public var resize: (@Sendable (UInt64) async throws(BlockError) -> Void)?
  /// Turns the volatile cache on or off; `nil` if it stays as it is.
  public var setWriteCache: (@Sendable (Bool) async throws(BlockError) -> Void)?
  /// Lets the storage go; to be called once, when no request is under way, and none follows.
  public var close: @Sendable () async -> Void = {}

  /// A disk that is no more than a volume.
  public init(_ volume: any Volume) {
    self.volume = volume
  }
}

/// What a SCSI disk says of itself besides its volume's geometry; numbers are in bytes.
public struct VolumeTraits: Sendable, Hashable {
  /// Whether writes are on stable storage only after a flush (WCE).
  public var hasWriteCache = true
  /// Whether nothing turns.
  public var isSolidState = true
  /// The unit in which discards give space back; 0 if unknown.
  public var discardGranularity: UInt32 = 0
  /// From the disk's start to the first such unit.
  public var discardAlignment: UInt32 = 0
  /// The transfer that suits best; 0 if any does.
  public var optimalTransfer: UInt64 = 0

  /// The usual ones.
  public init() {}
}
