import BlockCore
import Glibc
import LinuxIO
import SystemPackage

/// The flush that has failed in a data server, in a file beside its socket: it is known to the next data server and to the
/// next manager, whoever was there to be told of it.
public struct FlushRecord: Sendable, Hashable {
  /// The file's path.
  public let path: String

  /// The record of the data server that listens at a socket.
  public init(beside socket: String) {
    let suffix = ".sock"
    path = (socket.hasSuffix(suffix) ? String(socket.dropLast(suffix.count)) : socket) + ".flush"
  }

  /// What it says; `nil` if no flush has failed, or it was reset.
  ///
  /// - Throws: `corrupt` for something else, others by errno.
  public func read() throws(BlockError) -> FlushFailure? {
    do throws(BlockError) {
      return try decodeMessage(FlushFailure.self, try SmallFile.bytes(path, limit: Limits.messageBytes))
    } catch  where error.kind == .notFound {
      return nil
    }
  }

  /// Writes a failure down, in one step; the first one stays.
  ///
  /// It outlives processes, and not the host: neither do devices.
  ///
  /// - Throws: By errno.
  public func write(_ failure: FlushFailure) throws(BlockError) {
    guard access(path, F_OK) != 0 else { return }
    let bytes = try encodeMessage(failure)
    let fresh = "\(path).new"
    let descriptor = try Descriptor.openOwn(fresh, O_WRONLY | O_CREAT | O_TRUNC)
    let count = Glibc.write(descriptor.raw, bytes, bytes.count)
    guard count == bytes.count, rename(fresh, path) == 0 else {
      // Part of it is what a full disk takes.
      let code = count < 0 || count == bytes.count ? errno : ENOSPC
      unlink(fresh)
      throw BlockError(errno: Errno(rawValue: code), step: "write", object: path)
    }
  }

  /// Removes it, if it is there.
  ///
  /// - Throws: By errno.
  public func remove() throws(BlockError) {
    guard unlink(path) == 0 || errno == ENOENT else {
      throw BlockError(errno: Errno(rawValue: errno), step: "remove", object: path)
    }
  }
}
