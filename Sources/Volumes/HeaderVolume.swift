import BlockCore
import CLinux
import DiskFormats
import Glibc
import Hashing
import LinuxIO
import SystemPackage

/// A block device, or a file, that remembers in front which image was written to it.
///
/// Only what this type does changes the volume; two who format one volume at a time are told apart by a lock.
public struct HeaderVolume: Sendable {
  /// The device or file, with links resolved.
  public let path: String
  /// Its size in bytes.
  public let byteCount: UInt64
  /// Bytes of the blocks that it can read and write: 512 for a file.
  public let sectorByteCount: Int
  /// Whether it is a block device.
  public let isBlockDevice: Bool

  /// Looks at a volume.
  ///
  /// - Throws: `notFound` and others by errno; `invalidArgument` for what is neither file nor block device.
  public init(_ path: String) throws(BlockError) {
    self.path = try LinuxFileSystem().resolve(path)
    let file = try LinuxFile(self.path, for: .readOnly)
    byteCount = file.byteCount
    isBlockDevice = file.isBlockDevice
    sectorByteCount = isBlockDevice ? try BlockDevice.logicalBlockSize(of: self.path) : 512
  }

  /// What a volume says of itself.
  public struct Content: Sendable, Hashable {
    /// The header that virtlet reads.
    public var header: VolumeHeader?
    /// Our note beside it.
    public var record: VolumeRecord?

    /// Makes a description; the parameters are those of the properties.
    public init(header: VolumeHeader?, record: VolumeRecord?) {
      self.header = header
      self.record = record
    }

    /// Where the content begins; virtlet, which writes no note, knows one place, and so does whoever writes its header.
    var layout: VolumeRecord.Layout { header == nil ? record?.layout ?? .sector : .sector }

    /// Whether our note is of another content than the one that the header speaks of.
    var isNoteStale: Bool {
      guard let header, header.version == VolumeHeader.currentVersion, let record else { return false }
      return !Self.isOurs(header, record)
    }

    // We take the header away before we write and put it there afterwards: one beside an unfinished note, or
    // of another image, is of somebody who has written the volume since.
    private static func isOurs(_ header: VolumeHeader, _ record: VolumeRecord) -> Bool {
      record.state == .complete && record.layout == .sector && header.image == record.image
    }

    /// How far the content has come, as far as header and note tell: nothing is read.
    public var state: State {
      if let header, header.version != VolumeHeader.currentVersion {
        return .unsupportedVersion(header.version)
      }
      guard let record else { return header.map { .unconfirmed($0.image) } ?? .none }
      if let header {
        return Self.isOurs(header, record) ? .written(record.image) : .unconfirmed(header.image)
      }
      let isWhole = record.state == .complete && record.layout == .aligned
      return isWhole ? .written(record.image) : .incomplete(record.image)
    }

    /// How far the content of a volume has come.
    public enum State: Sendable, Hashable {
      /// There is no header.
      case none
      /// A header of a version that we do not know; nothing of the volume is touched.
      case unsupportedVersion(UInt16)
      /// The content was being written and is not whole.
      case incomplete(Digest256)
      /// The image was written and read back once; what became of it since, nobody has looked.
      case written(Digest256)
      /// The image is there, all of it: it has just been read.
      case complete(Digest256)
      /// It has just been read, and is not the image, or not any more.
      case changed(Digest256)
      /// There is a header without a note of ours: virtlet writes it before it writes the image.
      case unconfirmed(Digest256)
    }
  }

  /// Reads what the volume says of itself.
  ///
  /// - Throws: What reading throws.
  public func content() async throws(BlockError) -> Content {
    let file = try LinuxFile(path, for: .readOnly)
    return try await Self.content(of: file)
  }

  static func content(of file: LinuxFile) async throws(BlockError) -> Content {
    let workspace = Workspace()
    let count = min(file.byteCount, 512)
    guard count >= UInt64(VolumeHeader.byteCount) else {
      throw BlockError(
        .invalidArgument, step: "read the volume header of", object: file.name,
        cause: "it has \(file.byteCount) bytes, too few for a header")
    }
    let sector = try await file.bytes(at: 0, byteCount: Int(count), using: workspace)
    var record = try VolumeRecord.read(Array(sector.dropFirst(VolumeRecord.offset)))
    let copy = UInt64(VolumeRecord.copyOffset)
    if record == nil, file.byteCount >= VolumeRecord.Layout.aligned.contentOffset {
      let bytes = try await file.bytes(at: copy, byteCount: VolumeRecord.byteCount, using: workspace)
      // In the other layout, what stands there is the disk's own.
      if let found = try VolumeRecord.read(bytes), found.layout == .aligned { record = found }
    }
    return Content(header: VolumeHeader(sector), record: record)
  }

  /// How long somebody may have the volume's lock before it counts as used: udev has it while it looks at a device.
  static let patience = Duration.seconds(2)

  /// The volume, open for writing, with a lock that keeps others from formatting or mapping it meanwhile.
  ///
  /// - Parameter access: `readWrite`, or, for whoever makes a device of it that claims it, `sharedReadWrite`.
  /// - Throws: `busy` if somebody else has it, others by errno.
  func alone(for access: FileAccess) async throws(BlockError) -> LinuxFile {
    let clock = LinuxClock()
    let end = clock.now + Self.patience
    while true {
      do throws(BlockError) {
        return try LinuxFile(path, for: access)
      } catch  where error.kind == .busy && clock.now < end {
        try await clock.pause(for: .milliseconds(10))
      }
    }
  }

  /// What the volume must have for an image, and whether it has it: one sector more than the image.
  ///
  /// - Throws: `noSpace` with both sizes; `outOfRange` for an image whose size cannot be right.
  public func checkSize(forImageOf imageByteCount: UInt64, _ layout: VolumeRecord.Layout) throws(BlockError) {
    guard imageByteCount <= Limits.volumeBytes else {
      throw BlockError(
        .outOfRange, step: "use the volume", object: path,
        cause: "an image of \(imageByteCount) bytes is no image")
    }
    // Bounded above, so that nothing here can overflow.
    let sectors = (imageByteCount + 511) / 512 + layout.contentOffset / 512
    guard byteCount / 512 >= sectors else {
      throw BlockError(
        .noSpace, step: "use the volume", object: path,
        cause:
          "block device too small for the image: need at least \(sectors * 512) bytes (\(sectors) sectors) "
          + "but got \(byteCount) bytes (\(byteCount / 512) sectors)",
        remedy: "Use a larger volume.")
    }
  }
}

extension BlockDevice {
  /// Bytes of the blocks that a device can read and write (`BLKSSZGET`).
  ///
  /// - Throws: By errno.
  static func logicalBlockSize(of path: String) throws(BlockError) -> Int {
    let descriptor = try Descriptor.open(path, O_RDONLY)
    var size: Int32 = 0
    guard clinux_ioctl_pointer(descriptor.raw, clinux_BLKSSZGET, &size) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "get the sector size of", object: path)
    }
    return Int(size)
  }
}
