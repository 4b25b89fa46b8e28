import BlockCore
import CLinux
import Glibc
import SystemPackage

/// Stream sockets in the file system.
public enum UnixStream {
  /// Whether somebody listens at a path.
  ///
  /// - Throws: `permissionDenied` if the caller may not know, others by errno.
  public static func isListening(at path: String) throws(BlockError) -> Bool {
    if case .nobody = try listener(at: path) { false } else { true }
  }

  /// Who listens at a path.
  public enum Listener: Sendable, Hashable {
    /// Nobody.
    case nobody
    /// Somebody who lets nobody in at the moment: as many wait there as may.
    case busy
    /// That process.
    case process(Int32)
  }

  /// Finds out who listens at a path; does not wait.
  ///
  /// - Throws: `permissionDenied` if the caller may not know, others by errno.
  public static func listener(at path: String) throws(BlockError) -> Listener {
    let raw = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue) | clinux_SOCK_CLOEXEC | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard raw >= 0 else { throw BlockError(errno: Errno(rawValue: errno), step: "make", object: "a socket") }
    let descriptor = Descriptor(owning: raw)
    if SocketAddress.withAddress(path, { connect(descriptor.raw, $0, $1) }) == 0 {
      let pid = clinux_peer_pid(descriptor.raw)
      guard pid >= 0 else { throw .lastErrno(step: "ask who listens at", object: path) }
      // A disk that does not answer may keep a process that has ended from closing its socket.
      return ProcessIdentity.isOnlyLeft(pid) ? .nobody : .process(pid)
    }
    let code = Errno(rawValue: errno)
    switch code {
    case .noSuchFileOrDirectory, .connectionRefused, .notDirectory: return .nobody
    case .wouldBlock: return .busy
    default: throw BlockError(errno: code, step: "connect to", object: path)
    }
  }
}

/// Addresses of sockets in the file system.
enum SocketAddress {
  /// Bytes that a path may have.
  static let pathLimit = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

  /// Runs a body with the address of a path; -1, and `ENAMETOOLONG`, if the path is too long for one.
  static func withAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_un()
    guard path.utf8.count <= pathLimit else {
      errno = ENAMETOOLONG
      return -1
    }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        body(generic, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
