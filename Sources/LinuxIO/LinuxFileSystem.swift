import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The files of this host.
public struct LinuxFileSystem: FileSystem {
  /// Makes the one view there is.
  public init() {}

  public func open(_ path: String, for access: FileAccess) async throws(BlockError) -> any BlockFile {
    try LinuxFile(path, for: access)
  }

  public func resolve(_ path: String) throws(BlockError) -> String {
    guard !path.utf8.contains(0) else {
      throw BlockError(
        .invalidArgument, step: "find", object: path, cause: "the path holds a NUL character",
        remedy: "Correct the path.")
    }
    guard let resolved = realpath(path, nil) else { throw .lastErrno(step: "find", object: path) }
    defer { free(resolved) }
    return try ProgramText.text(resolved)
  }

  public func exists(_ path: String) -> Bool {
    !path.utf8.contains(0) && access(path, F_OK) == 0
  }

  public func kind(of path: String) throws(BlockError) -> FileKind? {
    guard !path.utf8.contains(0) else {
      throw BlockError(
        .invalidArgument, step: "look at", object: path, cause: "the path holds a NUL character",
        remedy: "Correct the path.")
    }
    var status = stat()
    guard lstat(path, &status) == 0 else {
      if errno == ENOENT { return nil }
      throw .lastErrno(step: "look at", object: path)
    }
    return switch status.st_mode & S_IFMT {
    case S_IFREG: .file
    case S_IFDIR: .directory
    case S_IFLNK: .link
    case S_IFBLK, S_IFCHR: .device
    default: .other
    }
  }

  public func contents(of path: String, limit: Int) async throws(BlockError) -> [UInt8] {
    let file = try LinuxFile(path, for: .readOnly)
    guard file.byteCount <= UInt64(limit) else {
      throw BlockError(
        .exhausted, step: "read", object: path,
        cause: "it has \(file.byteCount) bytes, and such a file may have \(limit)")
    }
    var bytes = [UInt8](repeating: 0, count: Int(file.byteCount))
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try file.readWaiting(at: 0, into: &raw)
    return bytes
  }

  public func create(_ path: String, byteCount: UInt64) async throws(BlockError) -> any BlockFile {
    let descriptor = try Descriptor.open(path, O_RDWR | O_CREAT | O_EXCL, step: "create")
    while ftruncate(descriptor.raw, off_t(byteCount)) != 0 {
      if errno == EINTR { continue }
      let error = BlockError.lastErrno(step: "set the size of", object: path)
      unlink(path)
      throw error
    }
    // Nobody has a device over what has just been made.
    return try LinuxFile(path, for: .sharedReadWrite)
  }

  public func rename(_ path: String, to target: String, replaces: Bool) async throws(BlockError) {
    // To C, a NUL ends the path: it would be another file's.
    guard !path.utf8.contains(0), !target.utf8.contains(0) else {
      throw BlockError(
        .invalidArgument, step: "rename", object: "\(path) to \(target)",
        cause: "a path holds a NUL character")
    }
    // Held until the name leads elsewhere.
    let replaced = replaces ? try Self.unused(target) : nil
    let result = replaces ? Glibc.rename(path, target) : clinux_rename_new(path, target)
    guard result == 0 else { throw .lastErrno(step: "rename", object: "\(path) to \(target)") }
    if let replaced { try replaced.close(step: "replace", object: target) }
    try Self.synchronizeDirectory(of: target)
  }

  public func remove(_ path: String) throws(BlockError) {
    // Nothing can have such a name, and what C takes for it is somebody else's.
    if path.utf8.contains(0) { return }
    let absent: Set<Int32> = [ENOENT, ENOTDIR, ENAMETOOLONG]
    if unlink(path) == 0 || absent.contains(errno) { return }
    let error = BlockError.lastErrno(step: "remove", object: path)
    // A file system that is read-only says that also of what is not there.
    var status = stat()
    if lstat(path, &status) != 0, absent.contains(errno) { return }
    throw error
  }

  public func identity(of path: String) -> FileIdentity? { Self.identity(of: path) }
}

extension LinuxFileSystem {
  /// Puts the directory that a file is in on stable storage, and with it that the file is there or not.
  ///
  /// - Throws: By errno.
  public static func synchronizeDirectory(of path: String) throws(BlockError) {
    let slash = path.lastIndex(of: "/")
    let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let descriptor = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
    guard fsync(descriptor.raw) == 0 else { throw .lastErrno(step: "flush the directory", object: directory) }
  }

  /// Makes a file longer or shorter; what is new reads as zeros.
  ///
  /// - Throws: By errno.
  public static func resize(_ path: String, to byteCount: UInt64) throws(BlockError) {
    guard truncate(path, off_t(byteCount)) == 0 else {
      throw .lastErrno(step: "set the size of", object: path)
    }
  }

  /// Has a part of a file take its room on the disk now; nothing happens where the file system cannot do that.
  ///
  /// - Throws: `noSpace`, others by errno.
  public static func allocate(_ range: Range<UInt64>, of path: String) throws(BlockError) {
    let descriptor = try Descriptor.open(path, O_WRONLY)
    while clinux_fallocate(
      descriptor.raw, 0, off_t(range.lowerBound), off_t(range.upperBound - range.lowerBound)) != 0
    {
      if errno == EINTR { continue }
      if errno == EOPNOTSUPP { return }
      throw .lastErrno(step: "allocate a part of", object: path)
    }
  }

  /// Which file a path leads to; `nil` if there is none, or nobody may look.
  public static func identity(of path: String) -> FileIdentity? {
    var status = stat()
    guard !path.utf8.contains(0), stat(path, &status) == 0 else { return nil }
    return FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  /// The bytes that a file takes on its disk; 0 if it is not there.
  public static func allocatedBytes(_ path: String) -> UInt64 {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_blocks) * 512 : 0
  }

  /// The same of some files; `nil` for one that does not answer (``BoundedLooks``).
  public static func allocatedBytes(_ paths: [String]) -> [UInt64?] {
    BoundedLooks.each(paths, key: \.self) { allocatedBytes($0) }
  }

  /// Whether a block device stands at a path, all links followed; nothing is opened.
  public static func isBlockDevice(_ path: String) -> Bool {
    var status = stat()
    return !path.utf8.contains(0) && stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFBLK
  }

  /// Whether a regular file of a real file system or a block device stands at a path; nothing is opened.
  public static func canBeDisk(_ path: String) -> Bool {
    var status = stat()
    guard stat(path, &status) == 0 else { return false }
    if status.st_mode & S_IFMT == S_IFBLK { return true }
    var system = statfs()
    return status.st_mode & S_IFMT == S_IFREG && statfs(path, &system) == 0
      && !LinuxFile.isOfTheKernel(system)
  }

  /// Bytes in a file; 0 if it cannot be looked at.
  public static func byteCount(ofFile path: String) -> UInt64 {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_size) : 0
  }

  /// Copies a file with its holes: by reference where the file system can do that, and by its data elsewhere.
  ///
  /// - Throws: `conflict` if the copy is there already, others by errno.
  public static func copySparse(_ path: String, to copy: String) async throws(BlockError) {
    let source = try LinuxFile(path, for: .readOnly)
    let target = try Descriptor.open(copy, O_RDWR | O_CREAT | O_EXCL, step: "create")
    if clinux_ioctl_value(target.raw, clinux_FICLONE, UInt(source.descriptor.raw)) == 0 { return }
    guard ftruncate(target.raw, off_t(source.byteCount)) == 0 else {
      throw .lastErrno(step: "set the size of", object: copy)
    }
    let file = try LinuxFile(copy, for: .sharedReadWrite)
    let workspace = Workspace()
    for extent in try await source.dataExtents(from: 0) {
      for start in stride(from: extent.lowerBound, to: extent.upperBound, by: Limits.requestBytes) {
        let count = Int(min(UInt64(Limits.requestBytes), extent.upperBound - start))
        let bytes = try await source.bytes(at: start, byteCount: count, using: workspace)
        try await file.write(at: start, from: bytes.span.bytes, isDurable: false)
      }
    }
  }

  /// Writes a value to an attribute of sysfs, procfs or configfs: in one call, as those want it.
  ///
  /// - Throws: By errno.
  public static func write(_ value: String, toAttribute path: String) throws(BlockError) {
    let descriptor = try Descriptor.open(path, O_WRONLY)
    guard Glibc.write(descriptor.raw, value, value.utf8.count) == value.utf8.count else {
      throw .lastErrno(step: "write \(value) to", object: path)
    }
  }
}
