/// A file that can be changed: the storage beneath a writable volume.
///
/// All functions of this protocol besides the first phase of reading may wait for the disk, so they are
/// `async`, and implementations run them where waiting does no harm. Offsets and counts are in bytes.
public protocol BlockFile: ByteSource {
  /// What tells this file from every other one on the host.
  var identity: FileIdentity { get }
  /// Whether changes are possible.
  var isWritable: Bool { get }
  /// The line that its flushes stand in, which knows whether one has failed.
  var flushes: FlushLine { get }
  /// What it is now, by what it was opened as and not by its path.
  ///
  /// - Throws: By errno.
  func currentState() throws(BlockError) -> FileState
  /// What a user should know of it although it opened.
  var notices: [String] { get }

  /// Writes all of a span, if that takes no more than the copy into the page cache: the first phase.
  func writeNow(at offset: UInt64, from data: RawSpan) throws(BlockError) -> ServeOutcome
  /// Writes all of a span; on stable storage when it returns, if so asked.
  func write(at offset: UInt64, from data: RawSpan, isDurable: Bool) async throws(BlockError)
  /// Puts everything written before on stable storage: data, and what is needed to find it.
  ///
  /// After it has failed once, or a durable write has, it fails until ``flushes`` is reset: the kernel forgets which
  /// data it lost. Flushes that are asked for at the same time are joined.
  func synchronize() async throws(BlockError)
  /// Makes the file larger; what is new reads as zeros. A file that is large enough already stays as it is.
  ///
  /// - Throws: `outOfRange` for a block device that is smaller, `readOnly`, and others by errno.
  func extend(to byteCount: UInt64) async throws(BlockError)
  /// Gives the range's space back; it reads as zeros afterwards.
  func punchHole(_ range: Range<UInt64>) async throws(BlockError)
  /// Makes a range read as zeros and keeps its space.
  func zero(_ range: Range<UInt64>) async throws(BlockError)
  /// The ranges that hold data, in order: `SEEK_DATA` and `SEEK_HOLE` from `start` on.
  func dataExtents(from start: UInt64) async throws(BlockError) -> [Range<UInt64>]
}

extension BlockFile {
  public var notices: [String] { [] }
  /// All but the holes.
  public func extentsWithData() async throws(BlockError) -> [Range<UInt64>] {
    try await dataExtents(from: 0)
  }
}

/// What tells one file from another: `st_dev` and `st_ino`.
public struct FileIdentity: Sendable, Hashable {
  /// The device number of the file system.
  public let device: UInt64
  /// The inode number in it.
  public let inode: UInt64

  /// Makes an identity from a device and an inode number.
  public init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }
}

/// The files of a host, or of a simulated one.
///
/// Paths are absolute, or relative to the process's working directory.
public protocol FileSystem: Sendable {
  /// Opens an existing regular file or block device.
  ///
  /// - Throws: `notFound`, `permissionDenied`, `invalidArgument` for a directory, and others by errno.
  func open(_ path: String, for access: FileAccess) async throws(BlockError) -> any BlockFile
  /// The path with all links resolved (realpath(3)).
  ///
  /// - Throws: `notFound` and others by errno.
  func resolve(_ path: String) throws(BlockError) -> String
  /// Whether something exists at a path, whatever it is (`access(F_OK)`).
  func exists(_ path: String) -> Bool
  /// What stands at a path, a symbolic link not followed; `nil` if nothing does.
  ///
  /// - Throws: By errno.
  func kind(of path: String) throws(BlockError) -> FileKind?
  /// Reads a small file entirely.
  ///
  /// - Throws: As ``open(_:for:)``, and `exhausted` if it is longer than `limit` bytes.
  func contents(of path: String, limit: Int) async throws(BlockError) -> [UInt8]
  /// Makes a new file of a size, all holes, open for reading and writing (`O_EXCL`, mode 0644).
  ///
  /// - Throws: `conflict` if something stands there already, others by errno.
  func create(_ path: String, byteCount: UInt64) async throws(BlockError) -> any BlockFile
  /// Gives a file another name in the same directory, for good: a power cut finds it there.
  ///
  /// - Parameters:
  ///   - path: The file.
  ///   - target: Its new name.
  ///   - replaces: Whether a file that has that name already is replaced.
  /// - Throws: `conflict` if it is not, `busy` as ``checkIsUnused(_:)``, others by errno.
  func rename(_ path: String, to target: String, replaces: Bool) async throws(BlockError)
  /// Refuses a file that somebody uses as a disk: who writes to it has locked it, or a loop device shows it.
  ///
  /// - Throws: `busy` with who that is; nothing for what is no regular file, or not there.
  func checkIsUnused(_ path: String) throws(BlockError)
  /// Removes a file; that it is not there is no error.
  func remove(_ path: String) throws(BlockError)
  /// Fills a file that tells how an attach went, and makes it if it is not there (mode 0644).
  ///
  /// Its name comes with the image, from whoever has made that: nothing else is overwritten (``ResultFile``).
  ///
  /// - Parameters:
  ///   - path: The file; a symbolic link at its end is not followed.
  ///   - bytes: All that it holds then.
  ///   - spared: Files that are not overwritten, whatever name they are reached by.
  /// - Throws: `conflict` for one of those, and for a file that holds something else; `busy` as ``checkIsUnused(_:)``;
  ///   `invalidArgument` for a link, and for what is no regular file, which is left alone and not waited for; others by
  ///   errno.
  func writeResultFile(
    _ path: String, _ bytes: [UInt8], sparing spared: Set<FileIdentity>
  ) async throws(BlockError)
  /// Which file a path leads to, all links followed; `nil` if it leads to none, or nobody may look.
  func identity(of path: String) -> FileIdentity?
}

/// What can stand at a path.
public enum FileKind: String, Sendable {
  /// A regular file.
  case file = "a file"
  /// A directory.
  case directory = "a directory"
  /// A symbolic link.
  case link = "a symbolic link"
  /// A block or character device.
  case device = "a device"
  /// A FIFO, a socket, or what else there may be.
  case other = "neither a file nor a directory"
}

/// How a file is opened.
public enum FileAccess: Sendable {
  /// For reading; the content is taken as constant.
  case readOnly
  /// For reading and writing, and nobody else writes meanwhile, through whatever name or device.
  case readWrite
  /// For reading and writing beside others who know: a mount, a loop device. Who else opens it for that through this
  /// engine is refused all the same.
  case sharedReadWrite
}
