import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A lock on a file that ends with the process that holds it (flock(2)).
public struct FileLock: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Takes the lock of a file, which is made if it is not there; `nil` if somebody else holds it.
  ///
  /// - Throws: By errno.
  public static func take(_ path: String) throws(BlockError) -> FileLock? {
    let descriptor = try Descriptor.open(path, O_RDWR | O_CREAT, mode: 0o600, step: "open the lock")
    if case .refused = try AdvisoryLock.take(descriptor, path) { return nil }
    return FileLock(descriptor: descriptor)
  }

  /// Keeps the lock that the program before us in this process has held, and left open for us.
  ///
  /// - Parameters:
  ///   - inherited: Its descriptor.
  ///   - path: The locked file's path.
  /// - Returns: `nil` if the descriptor is none of that file, or does not hold its lock.
  /// - Throws: By errno.
  public static func keep(_ inherited: Int32, of path: String) throws(BlockError) -> FileLock? {
    var held = stat()
    var named = stat()
    guard fstat(inherited, &held) == 0, stat(path, &named) == 0, held.st_ino == named.st_ino,
      held.st_dev == named.st_dev
    else { return nil }
    let descriptor = Descriptor(owning: inherited)
    // It is ours already; the call makes sure.
    guard fcntl(inherited, F_SETFD, FD_CLOEXEC) == 0 else {
      throw .lastErrno(step: "keep the lock", object: path)
    }
    if case .refused = try AdvisoryLock.take(descriptor, path) { return nil }
    return FileLock(descriptor: descriptor)
  }

  /// The descriptor that holds it.
  public var raw: Int32 { descriptor.raw }

  private init(descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }
}
