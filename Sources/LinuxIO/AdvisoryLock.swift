import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The lock that tells programs of this engine, and of udev's kind, that somebody uses a file: flock(2), and where the
/// file system refuses that, an open file description lock (fcntl(2)).
///
/// Both end with the last descriptor of the open file.
public enum AdvisoryLock: Sendable {
  /// It is ours.
  case held
  /// It is ours, and keeps away only those who try that kind, too: in words.
  case weak(String)
  /// Somebody else has it.
  case refused

  /// `F_OFD_SETLK` (asm-generic/fcntl.h), which the module map does not show.
  private static let setOpenFileLock: Int32 = 37
  /// What file systems say that have no such locks: FUSE and Lustre, others, and NFS without its lock manager.
  private static let absences: Set<Int32> = [ENOSYS, EOPNOTSUPP, ENOLCK, EINVAL]

  /// Takes the lock of an open file, without waiting.
  ///
  /// - Parameters:
  ///   - descriptor: The file; for an exclusive lock it is open for writing.
  ///   - path: What it is called.
  ///   - isShared: Whether others may have it, too, shared likewise.
  /// - Throws: By errno.
  public static func take(
    _ descriptor: borrowing Descriptor, _ path: String, isShared: Bool = false
  ) throws(BlockError) -> AdvisoryLock {
    while flock(descriptor.raw, (isShared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 {
      let code = errno
      if code == EINTR { continue }
      if code == EWOULDBLOCK { return .refused }
      guard absences.contains(code) else { throw .lastErrno(step: "lock", object: path) }
      return try openFileLock(descriptor, path, isShared, instead: Errno(rawValue: code))
    }
    return .held
  }

  private static func openFileLock(
    _ descriptor: borrowing Descriptor, _ path: String, _ isShared: Bool, instead reason: Errno
  ) throws(BlockError) -> AdvisoryLock {
    var range = Glibc.flock()
    range.l_type = Int16(isShared ? F_RDLCK : F_WRLCK)
    range.l_whence = Int16(SEEK_SET)
    if let code = failure(of: descriptor, range) {
      if code == EAGAIN || code == EACCES { return .refused }
      guard absences.contains(code) else { throw .lastErrno(step: "lock", object: path) }
      return .weak(
        "\(path): its file system has no locks (flock: \(reason)), so nothing keeps two from writing to it: see to "
          + "that yourself, or mount it with locks (Lustre: -o flock; NFS: without -o nolock)")
    }
    return .weak(
      "\(path): its file system refuses flock(2) (\(reason)); it is locked by fcntl(2), which programs of this engine "
        + "heed, and others may not")
  }

  /// Takes one byte of an open file, which may be a device, without waiting; others may have its other bytes.
  ///
  /// - Parameters:
  ///   - offset: Which byte; the file need not have it.
  ///   - descriptor: The file, open for writing; the byte is free again when its last descriptor is closed.
  ///   - path: What it is called.
  /// - Returns: Whether it is ours; `false` if somebody else has it.
  /// - Throws: By errno.
  public static func takeByte(
    _ offset: UInt32, of descriptor: borrowing Descriptor, _ path: String
  ) throws(BlockError) -> Bool {
    var range = Glibc.flock()
    range.l_type = Int16(F_WRLCK)
    range.l_whence = Int16(SEEK_SET)
    range.l_start = off_t(offset)
    range.l_len = 1
    guard let code = failure(of: descriptor, range) else { return true }
    if code == EAGAIN || code == EACCES { return false }
    throw BlockError(errno: Errno(rawValue: code), step: "lock a byte of", object: path)
  }

  /// Sets an open file description lock; the error number if that is refused.
  private static func failure(of descriptor: borrowing Descriptor, _ range: Glibc.flock) -> Int32? {
    var range = range
    while fcntl(descriptor.raw, setOpenFileLock, &range) != 0 {
      if errno != EINTR { return errno }
    }
    return nil
  }
}
