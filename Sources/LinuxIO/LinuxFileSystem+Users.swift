import BlockCore
import CLinux
import Glibc
import SystemPackage

/// Keeping files that somebody uses from being overwritten and from losing their name.
///
/// Who writes to a file of which the name leads elsewhere by now writes to nothing: all of it is gone with the last
/// descriptor.
extension LinuxFileSystem {
  public func checkIsUnused(_ path: String) throws(BlockError) { _ = try Self.unused(path) }

  /// Holds a regular file that nobody of ours writes to, so that nobody begins to; `nil` if none stands there.
  ///
  /// - Throws: `busy` with who uses it; others by errno.
  static func unused(_ path: String) throws(BlockError) -> Descriptor? {
    let descriptor: Descriptor
    do throws(BlockError) {
      descriptor = try Descriptor.open(
        path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, step: "look at what is replaced")
    } catch  where error.kind == .notFound {
      return nil
    }
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else { throw .lastErrno(step: "stat", object: path) }
    guard status.st_mode & S_IFMT == S_IFREG else { return nil }
    try checkIsUnused(descriptor, path, status)
    return descriptor
  }

  /// Takes the lock of an open file as one of those who do not write to it, and looks for loop devices that show it.
  ///
  /// - Throws: `busy` if somebody has locked it to write to it, or shows it; others by errno.
  static func checkIsUnused(
    _ descriptor: borrowing Descriptor, _ path: String, _ status: stat
  ) throws(BlockError) {
    if case .refused = try AdvisoryLock.take(descriptor, path, isShared: true) {
      throw inUse(path, "somebody has it open for writing, and has locked it", "Detach it there first")
    }
    let identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    let loops = LoopDevice.looks(at: LoopDevice.attached, for: [identity]).shown
      .filter { $0.status.file == identity }.map(\.path)
    guard loops.isEmpty else {
      let names = loops.joined(separator: " ")
      throw inUse(path, "it is the disk of \(names)", "Unmount and detach it first: losetup -d \(names)")
    }
  }

  private static func inUse(_ path: String, _ cause: String, _ remedy: String) -> BlockError {
    BlockError(
      .busy, step: "replace", object: path, cause: cause, remedy: "\(remedy), or name another file.",
      errno: .resourceBusy)
  }
}
