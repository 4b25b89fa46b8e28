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
    while flock(descriptor.raw, LOCK_EX | LOCK_NB) != 0 {
      if errno == EWOULDBLOCK { return nil }
      if errno != EINTR { throw .lastErrno(step: "lock", object: path) }
    }
    return FileLock(descriptor: descriptor)
  }

  private init(descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }
}
