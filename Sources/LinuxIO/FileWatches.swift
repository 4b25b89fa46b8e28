import BlockCore
import CLinux
import Glibc

/// Says what happens to files and directories that are named one by one, and may come and go: inotify(7).
///
/// Watches may be added and removed on any thread; one thread takes the events.
public struct FileWatches: ~Copyable, Sendable {
  /// One of the watches: a number that is given once.
  public struct ID: Sendable, Hashable {
    let number: Int32
  }

  /// What to look for.
  public struct Events: OptionSet, Sendable {
    /// The flags of inotify(7).
    public let rawValue: UInt32

    /// Makes a set of flags of inotify(7).
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// An entry of the directory was made.
    public static let created = Events(rawValue: UInt32(IN_CREATE))
    /// The file, or one in the directory, was written.
    public static let modified = Events(rawValue: UInt32(IN_MODIFY))
    /// An entry of the directory was removed or renamed, or the directory itself was.
    public static let removed = Events(
      rawValue: UInt32(IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF))
    /// Somebody has closed the file, or one in the directory.
    public static let closed = Events(rawValue: UInt32(IN_CLOSE_WRITE | IN_CLOSE_NOWRITE))
  }

  /// Something that has happened.
  public enum Event: Sendable, Hashable {
    /// What was looked for; with the entry's name if it is a directory that is watched.
    case happened(ID, String)
    /// What was watched is gone, and the watch with it.
    case ended(ID)
    /// The kernel has dropped events: anything may have happened.
    case lost
  }

  /// Bytes of events that are read at once.
  private static let bufferBytes = 16 << 10

  private let descriptor: Descriptor

  /// Watches nothing yet.
  ///
  /// - Throws: By errno: `exhausted` if this user has too many of these.
  public init() throws(BlockError) {
    let raw = inotify_init1(clinux_IN_FLAGS)
    guard raw >= 0 else { throw .lastErrno(step: "make", object: "an inotify instance") }
    descriptor = Descriptor(owning: raw)
  }

  /// The descriptor, which can be read when something has happened.
  public var raw: Int32 { descriptor.raw }

  /// Begins to watch a file or a directory; one that is watched already keeps its watch.
  ///
  /// - Throws: By errno: `notFound` if it is not there, `exhausted` if this user has too many watches.
  public func add(_ path: String, _ events: Events) throws(BlockError) -> ID {
    let number = inotify_add_watch(raw, path, events.rawValue)
    guard number >= 0 else { throw .lastErrno(step: "watch", object: path) }
    return ID(number: number)
  }

  /// Ends a watch, of which ``Event/ended(_:)`` tells; one that has ended is left.
  public func remove(_ watch: ID) {
    // It fails only if what was watched is gone.
    inotify_rm_watch(raw, watch.number)
  }

  /// Takes what has happened since the last call; does not wait.
  ///
  /// - Throws: By errno.
  public func events() throws(BlockError) -> [Event] {
    var events: [Event] = []
    var buffer = [UInt8](repeating: 0, count: Self.bufferBytes)
    while true {
      let count = read(raw, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      if count < 0 && errno == EAGAIN { return events }
      guard count > 0 else { throw .lastErrno(step: "read", object: "inotify events") }
      buffer[..<count].withUnsafeBytes { bytes in
        InotifyEvents.forEach(in: bytes) { event, name in
          if event.mask & UInt32(IN_Q_OVERFLOW) != 0 {
            events.append(.lost)
          } else if event.mask & UInt32(IN_IGNORED) != 0 {
            events.append(.ended(ID(number: event.wd)))
          } else {
            events.append(.happened(ID(number: event.wd), name))
          }
        }
      }
    }
  }
}

/// Events as the kernel writes them.
enum InotifyEvents {
  /// Calls a body for each event of a buffer: a header of 16 bytes each, and a name padded with NUL.
  static func forEach(in bytes: UnsafeRawBufferPointer, _ body: (inotify_event, String) -> Void) {
    let headerBytes = MemoryLayout<inotify_event>.size
    var rest = bytes[...]
    while rest.count >= headerBytes {
      let event = UnsafeRawBufferPointer(rebasing: rest).loadUnaligned(as: inotify_event.self)
      let end = headerBytes + Int(event.len)
      guard end <= rest.count else { return }
      let name = rest.dropFirst(headerBytes).prefix(Int(event.len)).prefix { $0 != 0 }
      body(event, String(decoding: name, as: UTF8.self))
      rest = rest.dropFirst(end)
    }
  }
}
