import BlockCore
import CLinux
import Glibc

/// Says when entries of a directory change: inotify(7).
public struct DirectoryWatch: ~Copyable, Sendable {
  /// What has happened since the last look.
  public struct Changes: Sendable, Hashable {
    /// The names of entries that were written, came or went.
    public var names: Set<String> = []
    /// Whether the kernel has dropped some: any entry may have changed then.
    public var isIncomplete = false
    /// Whether the directory itself is gone or unmounted: nothing more will come.
    public var hasEnded = false

    /// Nothing.
    public init() {}
  }

  /// Bytes of events that are read at once.
  private static let bufferBytes = 16 << 10

  private let descriptor: Descriptor
  private let path: String

  /// Begins to watch a directory.
  ///
  /// An entry counts as written when its writer closes it.
  ///
  /// - Parameter path: The directory.
  /// - Throws: By errno: `notFound` if it is not there, `exhausted` if this user has too many watches.
  public init(_ path: String) throws(BlockError) {
    let raw = inotify_init1(clinux_IN_FLAGS)
    guard raw >= 0 else { throw .lastErrno(step: "watch", object: path) }
    let owner = Descriptor(owning: raw)
    let mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR
    guard inotify_add_watch(raw, path, UInt32(mask)) >= 0 else {
      throw .lastErrno(step: "watch", object: path)
    }
    descriptor = owner
    self.path = path
  }

  /// The descriptor, which can be read when there are changes.
  public var raw: Int32 { descriptor.raw }

  /// Takes what has happened since the last call; does not wait.
  ///
  /// - Throws: By errno.
  public func changes() throws(BlockError) -> Changes {
    var changes = Changes()
    var buffer = [UInt8](repeating: 0, count: Self.bufferBytes)
    while true {
      let count = read(descriptor.raw, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      if count < 0 && errno == EAGAIN { return changes }
      guard count > 0 else { throw .lastErrno(step: "watch", object: path) }
      buffer[..<count].withUnsafeBytes { bytes in
        InotifyEvents.forEach(in: bytes) { event, name in
          if event.mask & UInt32(IN_Q_OVERFLOW) != 0 { changes.isIncomplete = true }
          if event.mask & UInt32(IN_IGNORED) != 0 { changes.hasEnded = true }
          if !name.isEmpty { changes.names.insert(name) }
        }
      }
    }
  }
}
