import BlockCore
import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Room on a file system that is kept for when there is no other: what has to be written down before something can be
/// removed would have none then, and nothing could be removed to make some.
///
/// It is given up in slices: what is written takes most of one, and whoever else fills the disk takes the rest of that
/// one only.
public final class SpaceReserve: Sendable {
  private static let sliceBytes: off_t = 16 << 10

  private let path: String
  private let byteCount: UInt64
  /// Whether the file system cannot do it; asking again and again would only make and remove the file.
  private let isUnsupported = Atomic(false)
  /// Taking and giving up take turns.
  private let turns = Mutex(())

  /// Names a reserve; ``keep()`` makes it.
  ///
  /// - Parameters:
  ///   - path: The file that takes the room; nobody else's.
  ///   - byteCount: How many bytes.
  public init(_ path: String, byteCount: UInt64) {
    self.path = path
    self.byteCount = byteCount
  }

  /// Takes the room, or what is missing of it, if there is so much.
  ///
  /// - Returns: Whether all of it is taken; on a file system that cannot keep room, whether there is so much now.
  @discardableResult
  public func keep() -> Bool {
    turns.withLock { _ in
      if LinuxFileSystem.allocatedBytes(path) >= byteCount { return true }
      return isUnsupported.load(ordering: .relaxed) ? isThereNow : take()
    }
  }

  private func take() -> Bool {
    let raw = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard raw >= 0 else { return false }
    let descriptor = Descriptor(owning: raw)
    let before = size
    if clinux_fallocate(descriptor.raw, 0, 0, off_t(byteCount)) == 0 { return true }
    let isUnable = errno == EOPNOTSUPP || errno == ENOSYS
    if isUnable { isUnsupported.store(true, ordering: .relaxed) }
    // Part of what is missing would only be in the way.
    shrink(to: before)
    return isUnable && isThereNow
  }

  /// Gives a slice of the room back.
  ///
  /// - Returns: Whether there was any.
  public func giveUp() -> Bool {
    turns.withLock { _ in
      let before = size
      guard before > 0 else { return false }
      return shrink(to: max(0, before - Self.sliceBytes))
    }
  }

  /// The file's bytes; 0 if it is not there.
  private var size: off_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_size : 0
  }

  @discardableResult
  private func shrink(to size: off_t) -> Bool { (size > 0 ? truncate(path, size) : unlink(path)) == 0 }

  /// Whether the file system has so much room left, as far as it says.
  private var isThereNow: Bool {
    var status = statvfs()
    guard statvfs(FilePath(path).removingLastComponent().string, &status) == 0 else { return false }
    // One in memory without a limit says of itself that it has no blocks.
    return status.f_blocks == 0 || UInt64(status.f_bavail) * UInt64(status.f_frsize) >= byteCount
  }
}
