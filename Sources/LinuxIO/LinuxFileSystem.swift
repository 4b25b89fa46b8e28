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
    guard let resolved = realpath(path, nil) else { throw .lastErrno(step: "find", object: path) }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  public func exists(_ path: String) -> Bool {
    !path.utf8.contains(0) && access(path, F_OK) == 0
  }

  public func kind(of path: String) throws(BlockError) -> FileKind? {
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
    return try LinuxFile(path, for: .readWrite)
  }

  public func rename(_ path: String, to target: String, replaces: Bool) async throws(BlockError) {
    let result = replaces ? Glibc.rename(path, target) : clinux_rename_new(path, target)
    guard result == 0 else { throw .lastErrno(step: "rename", object: "\(path) to \(target)") }
    let slash = target.lastIndex(of: "/")
    let directory = slash.map { $0 == target.startIndex ? "/" : String(target[..<$0]) } ?? "."
    let descriptor = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
    guard fsync(descriptor.raw) == 0 else { throw .lastErrno(step: "flush the directory", object: directory) }
  }

  public func remove(_ path: String) throws(BlockError) {
    guard unlink(path) == 0 || errno == ENOENT else { throw .lastErrno(step: "remove", object: path) }
  }

  public func replaceContents(of path: String, with bytes: [UInt8]) async throws(BlockError) {
    let descriptor = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, step: "create")
    let raw = descriptor.raw
    let written = bytes.withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) }
    guard written == bytes.count else {
      throw written < 0
        ? .lastErrno(step: "write", object: path)
        : BlockError(errno: .noSpace, step: "write", object: path)
    }
    try descriptor.close(step: "write", object: path)
  }
}

extension LinuxFileSystem {
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
