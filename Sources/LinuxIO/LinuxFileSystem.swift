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

  public func exists(_ path: String) -> Bool {
    access(path, F_OK) == 0
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

  public func replaceContents(of path: String, with bytes: [UInt8]) async throws(BlockError) {
    let descriptor = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, step: "create")
    let raw = descriptor.raw
    let written = bytes.withUnsafeBytes { write(raw, $0.baseAddress, $0.count) }
    guard written == bytes.count else {
      throw written < 0
        ? .lastErrno(step: "write", object: path)
        : BlockError(errno: .noSpace, step: "write", object: path)
    }
    try descriptor.close(step: "write", object: path)
  }
}
