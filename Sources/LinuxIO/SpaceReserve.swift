import BlockCore
import CLinux
import Glibc
import Synchronization

/// Room on a file system that is kept for when there is no other: what has to be written down before something can be
/// removed would have none then, and nothing could be removed to make some.
public final class SpaceReserve: Sendable {
  private let path: String
  private let byteCount: UInt64
  /// Whether the file system cannot do it; asking again and again would only make and remove the file.
  private let isUnsupported = Atomic(false)

  /// Names a reserve; ``keep()`` makes it.
  ///
  /// - Parameters:
  ///   - path: The file that takes the room; nobody else's.
  ///   - byteCount: How many bytes.
  public init(_ path: String, byteCount: UInt64) {
    self.path = path
    self.byteCount = byteCount
  }

  /// Takes the room, if it is not taken yet and there is so much.
  ///
  /// - Returns: Whether it is taken.
  @discardableResult
  public func keep() -> Bool {
    if LinuxFileSystem.allocatedBytes(path) >= byteCount { return true }
    if isUnsupported.load(ordering: .relaxed) { return false }
    let raw = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard raw >= 0 else { return false }
    let descriptor = Descriptor(owning: raw)
    if clinux_fallocate(descriptor.raw, 0, 0, off_t(byteCount)) == 0 { return true }
    if errno == EOPNOTSUPP { isUnsupported.store(true, ordering: .relaxed) }
    // Half of it would only be in the way.
    unlink(path)
    return false
  }

  /// Gives the room back.
  ///
  /// - Returns: Whether there was any.
  public func giveUp() -> Bool { unlink(path) == 0 }
}
