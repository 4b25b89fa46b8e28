import BlockCore
import CLinux
import Glibc
import Synchronization
import SystemPackage

/// A regular file or a block device of this host.
///
/// The first phase of a read copies from a mapping where the pages are known to be in the page cache, and
/// asks the kernel with `RWF_NOWAIT` where they are not; neither waits for a disk. See docs/hot-path.md.
public final class LinuxFile: BlockFile {
  let descriptor: Descriptor
  let mapping: FileMapping
  let residency: ResidencyMap?
  public let flushes = FlushLine()
  private let size: Atomic<UInt64>
  public let name: String
  public let identity: FileIdentity
  public let isWritable: Bool
  /// Whether the file's pages have no disk beneath them (tmpfs), so that reading them never waits.
  let isMemory: Bool
  /// Whether this is a block device rather than a regular file.
  public let isBlockDevice: Bool
  public let notices: [String]
  // Held for the file's life.
  private let claim: WriteClaim?

  /// Refuses a device that takes no writes: opening one for them may succeed all the same.
  private static func checkIsWritable(_ device: borrowing Descriptor, _ path: String) throws(BlockError) {
    var isReadOnly: Int32 = 0
    guard ioctl(device.raw, clinux_BLKROGET, &isReadOnly) == 0, isReadOnly != 0 else { return }
    throw BlockError(
      .readOnly, step: "open", object: path, cause: "the device is read-only",
      remedy: "Attach it with --read-only; or make it writable: blockdev --setrw \(path).")
  }

  /// Opens an existing file.
  ///
  /// - Parameters:
  ///   - path: The path of a regular file or block device.
  ///   - access: Whether it is to be changed.
  /// - Throws: `invalidArgument` for a directory, FIFO, socket or character device; `busy` if it is to be
  ///   changed and somebody else may do that, too (``WriteClaim``); others by errno.
  public init(_ path: String, for access: FileAccess) throws(BlockError) {
    // Not blocking, or opening a FIFO would wait for a writer.
    let flags = (access == .readOnly ? O_RDONLY : O_RDWR) | O_NONBLOCK
    var descriptor = try Descriptor.open(path, flags)
    let status = try Self.status(of: descriptor, path)
    let byteCount: UInt64
    switch status.st_mode & S_IFMT {
    case S_IFREG:
      try Self.checkFileSystem(of: descriptor, path)
      isBlockDevice = false
      byteCount = UInt64(status.st_size)
    case S_IFBLK:
      isBlockDevice = true
      byteCount = try Self.deviceSize(of: descriptor, path)
    case S_IFDIR:
      throw BlockError(
        .invalidArgument, step: "open", object: path, cause: "it is a directory",
        remedy: "Name the file in it.")
    default:
      throw BlockError(
        .invalidArgument, step: "open", object: path, cause: "it is neither a file nor a block device",
        remedy: "Name a file or a block device.")
    }
    if isBlockDevice && access != .readOnly { try Self.checkIsWritable(descriptor, path) }
    if isBlockDevice && access == .readWrite {
      descriptor = try WriteClaim.exclusive(descriptor, path)
    }
    let claim =
      access == .readOnly
      ? nil : try WriteClaim(of: descriptor, path, status, isShared: access == .sharedReadWrite)
    self.claim = claim
    notices = claim?.notices ?? []
    size = Atomic(byteCount)
    name = path
    isWritable = access != .readOnly
    identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    if isBlockDevice {
      mapping = FileMapping()
      residency = nil
    } else {
      let mapped = FileMapping.of(descriptor, byteCount: byteCount)
      residency = mapped.byteCount == 0 ? nil : ResidencyMap(byteCount: mapped.byteCount)
      mapping = mapped
    }
    isMemory = Self.isMemory(descriptor)
    self.descriptor = descriptor
  }

  public var byteCount: UInt64 { size.load(ordering: .relaxed) }

  public func currentState() throws(BlockError) -> FileState { try FileState(of: descriptor, name) }

  public func extend(to byteCount: UInt64) async throws(BlockError) {
    try checkWritable("set the size of")
    guard byteCount > self.byteCount else { return }
    guard !isBlockDevice else {
      let actual = try Self.deviceSize(of: descriptor, name)
      guard actual >= byteCount else {
        throw BlockError(
          .outOfRange, step: "set the size of", object: name,
          cause: "the device has \(actual) bytes, and \(byteCount) are wanted",
          remedy: "Make the device larger first.")
      }
      return size.store(actual, ordering: .relaxed)
    }
    guard byteCount <= UInt64(off_t.max) else {
      throw BlockError(errno: .fileTooLarge, step: "set the size of", object: name)
    }
    while ftruncate(descriptor.raw, off_t(byteCount)) != 0 {
      if errno != EINTR { throw .lastErrno(step: "set the size of", object: name) }
    }
    // Files of procfs and sysfs say that it went well.
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0, UInt64(status.st_size) >= byteCount else {
      throw BlockError(
        .unsupported, step: "set the size of", object: name,
        cause: "it has \(status.st_size) bytes still, whatever is set",
        remedy: "Name a file that can hold a disk.")
    }
    size.store(byteCount, ordering: .relaxed)
  }

  private static func status(of descriptor: borrowing Descriptor, _ path: String) throws(BlockError) -> stat {
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else { throw .lastErrno(step: "stat", object: path) }
    return status
  }

  private static func deviceSize(
    of descriptor: borrowing Descriptor, _ path: String
  ) throws(BlockError) -> UInt64 {
    var size: UInt64 = 0
    guard clinux_ioctl_pointer(descriptor.raw, clinux_BLKGETSIZE64, &size) == 0 else {
      throw .lastErrno(step: "get the size of", object: path)
    }
    return size
  }

  /// Refuses what only looks like a file: its size says nothing, and reading or writing it does something.
  private static func checkFileSystem(
    of descriptor: borrowing Descriptor, _ path: String
  ) throws(BlockError) {
    var status = statfs()
    guard fstatfs(descriptor.raw, &status) == 0 else {
      throw .lastErrno(step: "look at the file system of", object: path)
    }
    guard isOfTheKernel(status) else { return }
    throw BlockError(
      .invalidArgument, step: "open", object: path,
      cause: "it is no file on a disk, but one of the kernel's own",
      remedy: "Name a file or a block device.")
  }

  /// Whether a file system has no files but the kernel's interfaces (linux/magic.h).
  static func isOfTheKernel(_ status: statfs) -> Bool {
    let magics: Set<UInt32> = [
      0x9FA0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x6265_6570, 0x7363_6673, 0x27_E0EB, 0x6367_7270,
      0xCAFE_4A11, 0x6165_676C, 0xF97C_FF8C, 0xDE5E_81E4, 0x4249_4E4D, 0x6E73_6673,
    ]
    return magics.contains(UInt32(truncatingIfNeeded: status.f_type))
  }

  /// Whether the file's pages have no disk beneath them.
  private static func isMemory(_ descriptor: borrowing Descriptor) -> Bool {
    var status = statfs()
    guard fstatfs(descriptor.raw, &status) == 0 else { return false }
    return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC
  }
}

extension LinuxFile {
  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    if count == 0 { return .done }
    let position = Int(truncatingIfNeeded: offset)
    if let residency, residency.covers(offset: position, byteCount: count) {
      guard mapping.copy(from: position, into: &destination) else {
        throw unreadable(at: offset, count, .ioError)
      }
      if workspace.component(FaultWatch.self).noticesWaiting() { residency.forgetAll() }
      return .done
    }
    return try readFromCache(at: position, into: &destination)
  }

  /// Reads what the page cache has, or says that it has not.
  private func readFromCache(
    at position: Int, into destination: inout MutableRawSpan
  ) throws(BlockError) -> ServeOutcome {
    let raw = descriptor.raw
    let count = destination.byteCount
    let result = destination.withUnsafeMutableBytes { bytes in
      // tmpfs has no RWF_NOWAIT and needs none.
      isMemory
        ? pread(raw, bytes.baseAddress, bytes.count, position)
        : clinux_pread_nowait(raw, bytes.baseAddress, bytes.count, position)
    }
    if result == count {
      noteResident(at: position, destination)
      return .done
    }
    // A short count is what of it is cached; EOPNOTSUPP is a file system without RWF_NOWAIT.
    if result >= 0 { return .mustWait }
    switch errno {
    case EAGAIN, EOPNOTSUPP, EINTR: return .mustWait
    case let code: throw unreadable(at: UInt64(position), count, Errno(rawValue: code))
    }
  }

  /// Notes that the pages of a range have just been read.
  ///
  /// Not so for a page of zeros on tmpfs: it may be a hole, which a look through the mapping would fill.
  private func noteResident(at position: Int, _ data: borrowing MutableRawSpan) {
    guard let residency else { return }
    guard isMemory else { return residency.note(offset: position, byteCount: data.byteCount) }
    data.withUnsafeBytes { bytes in
      var start = 0
      while start < bytes.count {
        let end = min(start + Limits.pageSize - (position + start) % Limits.pageSize, bytes.count)
        if bytes[start..<end].contains(where: { $0 != 0 }) {
          residency.note(offset: position + start, byteCount: end - start)
        }
        start = end
      }
    }
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try readWaiting(at: offset, into: &destination)
  }

  /// Reads and waits for the disk, on the calling thread.
  func readWaiting(at offset: UInt64, into destination: inout MutableRawSpan) throws(BlockError) {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    let raw = descriptor.raw
    var done = 0
    while done < count {
      let result = destination.withUnsafeMutableBytes { bytes in
        pread(raw, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset) + off_t(done))
      }
      if result > 0 {
        done += result
      } else if result == 0 {
        throw BlockError(
          .ioError, step: "read", object: name,
          cause: "it ends at byte \(offset + UInt64(done)) and had \(byteCount) bytes when it was opened",
          remedy: "Something cut the file short while it was in use; restore it.")
      } else if errno != EINTR {
        throw unreadable(at: offset, count, Errno(rawValue: errno))
      }
    }
    noteResident(at: Int(truncatingIfNeeded: offset), destination)
  }

  public func willNeed(_ range: Range<UInt64>) {
    // Advice: that it could not be taken changes nothing.
    _ = posix_fadvise(
      descriptor.raw, off_t(range.lowerBound), off_t(range.upperBound - range.lowerBound),
      POSIX_FADV_WILLNEED)
  }

  /// Forgets what the page cache has of it and of what is on disk, so that the next read asks the disk.
  ///
  /// - Throws: By errno.
  public func dropCache() throws(BlockError) {
    let code = posix_fadvise(descriptor.raw, 0, 0, POSIX_FADV_DONTNEED)
    guard code == 0 else {
      throw BlockError(errno: Errno(rawValue: code), step: "drop the cache of", object: name)
    }
    residency?.forgetAll()
  }

  private func unreadable(at offset: UInt64, _ count: Int, _ code: Errno) -> BlockError {
    BlockError(
      .ioError, step: "read", object: name,
      cause: "\(count) bytes at byte \(offset): \(code)",
      remedy: "Look into the kernel's log for the disk beneath it, and whether the file was cut short.",
      errno: code)
  }
}
