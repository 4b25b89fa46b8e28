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
      if isAllTaken { return true }
      return isUnsupported.load(ordering: .relaxed) ? isThereNow : take()
    }
  }

  private var isAllTaken: Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
      && UInt64(status.st_blocks) * 512 >= byteCount
  }

  private func take() -> Bool {
    guard let descriptor = file(creating: true) else { return false }
    let before = Self.size(of: descriptor)
    if clinux_fallocate(descriptor.raw, 0, 0, off_t(byteCount)) == 0 { return true }
    let isUnable = errno == EOPNOTSUPP || errno == ENOSYS
    if isUnable { isUnsupported.store(true, ordering: .relaxed) }
    // Part of what is missing would only be in the way.
    shrink(descriptor, to: before)
    return isUnable && isThereNow
  }

  /// Gives a slice of the room back.
  ///
  /// - Returns: Whether there was any.
  public func giveUp() -> Bool {
    turns.withLock { _ in
      guard let descriptor = file(creating: false) else { return false }
      let before = Self.size(of: descriptor)
      guard before > 0 else { return false }
      return shrink(descriptor, to: max(0, before - Self.sliceBytes))
    }
  }

  /// The file; `nil` if it is not there, or something else is.
  private func file(creating: Bool) -> Descriptor? {
    do throws(BlockError) {
      return try Descriptor.openOwn(path, O_WRONLY | (creating ? O_CREAT : 0))
    } catch {
      // Without it there is no room, which is all that anybody asks.
      return nil
    }
  }

  private static func size(of descriptor: borrowing Descriptor) -> off_t {
    var status = stat()
    return fstat(descriptor.raw, &status) == 0 ? status.st_size : 0
  }

  @discardableResult
  private func shrink(_ descriptor: borrowing Descriptor, to size: off_t) -> Bool {
    (size > 0 ? ftruncate(descriptor.raw, size) : unlink(path)) == 0
  }

  /// Whether the file system has so much room left, as far as it says.
  private var isThereNow: Bool {
    var status = statvfs()
    guard statvfs(FilePath(path).removingLastComponent().string, &status) == 0 else { return false }
    // One in memory without a limit says of itself that it has no blocks.
    return status.f_blocks == 0 || UInt64(status.f_bavail) * UInt64(status.f_frsize) >= byteCount
  }
}
