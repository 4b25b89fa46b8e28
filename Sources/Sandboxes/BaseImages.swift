import BlockCore
import CLinux
import Glibc
import Hashing
import LinuxIO
import SystemPackage

/// A file that is held open, with a lock on it that ends with the last who has it open.
///
/// Loop devices made of it are among those: the lock outlives us with them.
final class HeldFile: Sendable {
  let descriptor: Descriptor
  let identity: FileIdentity
  let path: String
  /// What is to be known of its lock, and of loop devices that could not be asked.
  let notices: [String]

  /// Opens and locks a file.
  ///
  /// - Parameters:
  ///   - path: The file.
  ///   - isShared: Whether others may lock it, too; they may not write then.
  ///   - isNew: Whether we have just made it, so that nobody has a loop device over it.
  /// - Throws: `busy` if somebody has locked it otherwise, or may write to it through a loop device;
  ///   `invalidArgument` if it is no regular file.
  init(_ path: String, isShared: Bool, isNew: Bool = false) throws(BlockError) {
    self.path = path
    descriptor = try Descriptor.open(path, (isShared ? O_RDONLY : O_RDWR) | O_NONBLOCK)
    let status = try Self.status(of: descriptor, path)
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw BlockError(
        .invalidArgument, step: "use", object: path, cause: "it is no regular file",
        remedy: "Name a file; the content of a device cannot be told to be unchanged.")
    }
    identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    let lockNotice: String?
    switch try AdvisoryLock.take(descriptor, path, isShared: isShared) {
    case .held: lockNotice = nil
    case .weak(let text): lockNotice = text
    case .refused:
      throw BlockError(
        .busy, step: "use", object: path,
        cause: isShared ? "somebody has it open for writing" : "somebody else uses it",
        remedy: "Detach it there.")
    }
    guard !isNew else {
      notices = [lockNotice].compactMap(\.self)
      return
    }
    // They lock nothing.
    let (others, unasked) = try StorageStack(beneath: path).otherLoops(onlyWriters: isShared)
    notices = [lockNotice].compactMap(\.self) + unasked
    let loops = others.map(\.path)
    guard loops.isEmpty else {
      throw BlockError(
        .busy, step: "use", object: path,
        cause: "somebody can write to it, or has mounted it, through \(loops.joined(separator: ", "))",
        remedy: "Unmount and detach it there: losetup -d \(loops.joined(separator: " ")).")
    }
  }

  /// Throws unless the path still led to this file when it was opened a second time.
  func checkIsSame(_ other: LinuxFile) throws(BlockError) {
    guard other.identity != identity else { return }
    throw BlockError(
      .busy, step: "use", object: path,
      cause: "it was replaced meanwhile: inode \(other.identity.inode) instead of \(identity.inode)",
      remedy: "Put back what was there, and try again.")
  }

  static func status(of descriptor: borrowing Descriptor, _ path: String) throws(BlockError) -> stat {
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "stat", object: path)
    }
    return status
  }
}

/// The bases of an instance: their content, and that nobody changes them.
final class BaseImages: Sendable {
  private let journal: SandboxJournal
  private let turns = Turns()

  private let clock: any HostClock
  /// After what time a change of a file has another time than the one before: the coarsest clock of a file system.
  private static let settled = Duration.seconds(2)

  init(_ journal: SandboxJournal, _ clock: any HostClock) {
    self.journal = journal
    self.clock = clock
  }

  /// A base, held so that nobody of ours writes to it.
  struct Base: Sendable {
    let file: HeldFile
    let byteCount: UInt64
    let sha256: Digest256
  }

  /// Opens a base and says what its content is.
  ///
  /// The digest is computed once and again after a change, which size, inode and times betray.
  ///
  /// - Throws: `invalidArgument` for what cannot be a base, `busy` if somebody writes to it, what reading throws.
  func open(_ path: String) async throws(BlockError) -> Base {
    let resolved = try LinuxFileSystem().resolve(path)
    let file = try HeldFile(resolved, isShared: true)
    let key = "\(file.identity.device):\(file.identity.inode)"
    await turns.begin(key)
    defer { turns.end(key) }
    let status = try HeldFile.status(of: file.descriptor, resolved)
    guard status.st_size > 0, UInt64(status.st_size) <= Limits.sandboxBytes,
      UInt64(status.st_size) % VolumeGeometry.sectorSize == 0
    else {
      throw BlockError(
        .invalidArgument, step: "use as a base", object: resolved,
        cause: "it has \(status.st_size) bytes; a base has at least one sector and whole ones of 512 bytes, "
          + "or its tail would be lost", remedy: "Fill it up: truncate --size=%512 \(resolved).")
    }
    var row = Self.row(file.identity, status)
    if let known = try journal.base(file.identity), known.size == row.size, known.modified == row.modified,
      known.changed == row.changed, let digest = Digest256(known.sha256)
    {
      return Base(file: file, byteCount: UInt64(row.size), sha256: digest)
    }
    let content = try LinuxFile(resolved, for: .readOnly)
    try file.checkIsSame(content)
    let digest = try await Digest256.of(content)
    let after = try HeldFile.status(of: file.descriptor, resolved)
    guard Self.row(file.identity, after).modified == row.modified, after.st_size == status.st_size else {
      throw BlockError(
        .busy, step: "use as a base", object: resolved, cause: "it changed while it was read",
        remedy: "Try again when nobody writes to it.")
    }
    row.sha256 = digest.description
    // Another change within the same tick of the file system's clock would not show in its times.
    let age = clock.sinceEpoch - .nanoseconds(max(row.changed, row.modified))
    if age > Self.settled { try journal.save(row) }
    return Base(file: file, byteCount: UInt64(row.size), sha256: digest)
  }

  /// Opens the base of a sandbox, and refuses it if it is not what it was.
  ///
  /// - Throws: `checksumMismatch` with what was expected and what was found; `notFound` if it is not there.
  func open(_ row: SandboxJournal.Row) async throws(BlockError) -> Base {
    let base: Base
    do throws(BlockError) {
      base = try await open(row.base)
    } catch  where error.kind == .notFound {
      throw BlockError(
        .notFound, step: "use the base of \(row.name)", object: row.base, cause: error.cause,
        remedy: "The changes are kept in \(row.store); put the base back, sha256:\(row.baseSHA256).")
    }
    guard base.sha256.description == row.baseSHA256, base.byteCount == UInt64(row.baseSize) else {
      throw BlockError(
        .checksumMismatch, step: "use the base of \(row.name)", object: row.base,
        cause: "its content has changed: expected sha256:\(row.baseSHA256) of \(row.baseSize) bytes, "
          + "found sha256:\(base.sha256) of \(base.byteCount) bytes",
        remedy: "The changes are kept in \(row.store); put the base back as it was.")
    }
    return base
  }

  private static func row(_ identity: FileIdentity, _ status: stat) -> SandboxJournal.BaseRow {
    func nanoseconds(_ time: timespec) -> Int64 { Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec) }
    return SandboxJournal.BaseRow(
      device: Int64(bitPattern: identity.device), inode: Int64(bitPattern: identity.inode),
      size: Int64(status.st_size), modified: nanoseconds(status.st_mtim),
      changed: nanoseconds(status.st_ctim),
      sha256: "")
  }
}
