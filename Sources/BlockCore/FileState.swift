/// What a file was at a moment: what tells whether the file that is opened under its path later is that one still.
///
/// It is written down, so that a field that is added is optional.
public struct FileState: Sendable, Hashable, Codable {
  /// `st_dev`: the file system that it is in.
  public var device: UInt64
  /// `st_ino`.
  public var inode: UInt64
  /// Its size in bytes; that of the disk for a block device.
  public var byteCount: UInt64
  /// When its content was changed last (`st_mtim`), in nanoseconds since 1970-01-01 00:00:00 UTC; 0 for a block device.
  public var modified: Int64
  /// What tells two files apart that had the same inode one after the other (`FS_IOC_GETVERSION`), where the file system
  /// has it; for a block device what does the same for disks of one number (`BLKGETDISKSEQ`, Linux 5.15).
  public var generation: UInt64?
  /// `st_rdev` of a block device; `nil` for a regular file.
  public var blockDevice: UInt64?

  /// Makes a state; the parameters are those of the properties.
  public init(
    device: UInt64, inode: UInt64, byteCount: UInt64, modified: Int64, generation: UInt64? = nil,
    blockDevice: UInt64? = nil
  ) {
    self.device = device
    self.inode = inode
    self.byteCount = byteCount
    self.modified = modified
    self.generation = generation
    self.blockDevice = blockDevice
  }

  /// In what this file is another one than the one that was served, in words; `nil` if it is that one.
  ///
  /// - Parameters:
  ///   - served: What the file was when it was opened to be served.
  ///   - isWritable: Whether it may be written to, by who serves it or by others: then its time changes, and it may have
  ///     grown; it must not be shorter. Any other file must be the same in everything.
  public func difference(from served: FileState, isWritable: Bool) -> String? {
    guard (blockDevice == nil) == (served.blockDevice == nil) else {
      return blockDevice == nil
        ? "it is a file instead of a block device" : "it is a block device instead of a file"
    }
    if let number = blockDevice, let known = served.blockDevice {
      // The inode is only that of a name for it, which may be made again.
      if number != known { return "device number \(number) instead of \(known)" }
      if let generation, let known = served.generation, generation != known {
        return "disk sequence number \(generation) instead of \(known)"
      }
    } else {
      if device != served.device { return "file system \(device) instead of \(served.device)" }
      if inode != served.inode { return "inode \(inode) instead of \(served.inode)" }
      if let generation, let known = served.generation, generation != known {
        return "inode generation \(generation) instead of \(known)"
      }
    }
    if isWritable ? byteCount < served.byteCount : byteCount != served.byteCount {
      return "\(byteCount) bytes instead of \(served.byteCount)"
    }
    if !isWritable, modified != served.modified {
      return "modified at \(Self.seconds(modified)) instead of \(Self.seconds(served.modified))"
    }
    return nil
  }

  /// Nanoseconds as seconds with their fraction, as `stat --format=%.9Y` prints them.
  private static func seconds(_ nanoseconds: Int64) -> String {
    let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    let digits = String(rest.magnitude)
    return "\(seconds).\(String(repeating: "0", count: 9 - digits.count))\(digits)"
  }
}
