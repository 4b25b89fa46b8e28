import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A lock on a file that ends with the process that holds it (flock(2)).
public struct FileLock: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Takes the lock of a file, which is made if it is not there; `nil` if somebody else holds it.
  ///
  /// One that the kernel keeps for a process that has ended, because a disk does not answer it, is left to that one after a
  /// second: the file is made anew.
  ///
  /// - Throws: `invalidArgument` if it is no regular file; by errno.
  public static func take(_ path: String) throws(BlockError) -> FileLock? {
    if let lock = try open(path) { return lock }
    guard isHeldByTheDead(path) else { return nil }
    // As a rule it is about to be gone, and what it does last is to be done before anybody takes its place.
    for _ in 0..<50 {
      guard isHeldByTheDead(path) else { return try open(path) }
      usleep(20_000)
    }
    let directory = FilePath(path).removingLastComponent().string
    let turn = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
    // Whoever else sees the same comes one after the other, or would remove what the first has made.
    guard case .held = try AdvisoryLock.take(turn, directory), isHeldByTheDead(path) else { return nil }
    guard unlink(path) == 0 else { throw .lastErrno(step: "remove the lock", object: path) }
    return try open(path)
  }

  private static func open(_ path: String) throws(BlockError) -> FileLock? {
    while true {
      let descriptor = try Descriptor.openOwn(path, O_RDWR | O_CREAT, step: "open the lock")
      if case .refused = try AdvisoryLock.take(descriptor, path) { return nil }
      let lock = FileLock(descriptor: descriptor)
      // It may have been removed while we took it.
      if lock.isOf(path) { return lock }
    }
  }

  private static func isHeldByTheDead(_ path: String) -> Bool {
    guard let last = lastNote(of: path) else { return false }
    // The kernel's list of locks costs everybody who locks anything some milliseconds.
    return ProcessIdentity.isOnlyLeft(last.pid) && isHeld(path, by: last.pid)
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

  /// Who holds a lock, as far as its file says.
  public struct Holder: Sendable, Hashable {
    /// The process.
    public let process: ProcessIdentity
    /// What it has noted.
    public let note: String
  }

  /// The bytes that are read of a lock's file.
  private static let noteBytes = 256

  /// Writes down, for whoever finds it taken, which process holds it, and a word on that.
  ///
  /// On a full disk it goes without: the lock is held all the same.
  ///
  /// - Throws: By errno.
  public func note(_ note: String) throws(BlockError) {
    let text = Array("\(getpid()) \(note)\n".utf8.prefix(Self.noteBytes))
    guard pwrite(raw, text, text.count, 0) == text.count, ftruncate(raw, off_t(text.count)) == 0 else {
      let error = BlockError.lastErrno(step: "write", object: "the lock's holder")
      guard error.kind == .noSpace else { throw error }
      // Half a note would name another process.
      ftruncate(raw, 0)
      return
    }
  }

  /// Whether a path still leads to the file that is locked.
  public func isOf(_ path: String) -> Bool {
    var held = stat()
    var named = stat()
    return fstat(raw, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino
      && held.st_dev == named.st_dev
  }

  /// What the last holder of a lock has noted, whether it still has it or not; `nil` if none has.
  public static func lastNote(of path: String) -> (pid: Int32, note: String)? {
    guard let words = SmallFile.text(path, limit: noteBytes)?.split(separator: " ", maxSplits: 1),
      let pid = words.first.flatMap({ Int32($0) })
    else { return nil }
    return (pid, words.count > 1 ? String(words[1]) : "")
  }

  /// Who holds the lock of a file; `nil` if nobody does, or nobody who has noted it.
  ///
  /// The lock itself is not touched.
  public static func holder(of path: String) -> Holder? {
    guard let last = lastNote(of: path), !ProcessIdentity.isOnlyLeft(last.pid),
      let process = ProcessIdentity(pid: last.pid),
      isHeld(path, by: last.pid)
    else { return nil }
    return Holder(process: process, note: last.note)
  }

  private static func isHeld(_ path: String, by pid: Int32) -> Bool {
    var named = stat()
    guard stat(path, &named) == 0, let locks = SmallFile.text("/proc/locks", limit: 16 << 20) else {
      return false
    }
    return locks.split(separator: "\n").contains { line in
      // Number, kind, ADVISORY, mode, process, device:inode, and the range (proc_locks(5)).
      let fields = line.split(separator: " ")
      return fields.count > 5 && fields[4] == "\(pid)" && fields[5].hasSuffix(":\(named.st_ino)")
    }
  }

  /// The descriptor that holds it.
  public var raw: Int32 { descriptor.raw }

  private init(descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }
}
