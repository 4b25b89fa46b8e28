import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A Unix socket that carries whole messages, each with descriptors if need be (`SOCK_SEQPACKET`).
public struct MessageSocket: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Bytes of the longest message.
  public static let messageLimit = 256 << 10
  /// Descriptors with one message.
  public static let descriptorLimit = 16

  /// Takes over a connected socket.
  public init(owning descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }

  /// A message, or the end.
  @frozen
  public enum Received: ~Copyable {
    /// A message with its descriptors, which the receiver owns now.
    case message([UInt8], [Int32])
    /// The other side is gone.
    case end
  }

  /// Connects to a listening socket.
  ///
  /// - Throws: `disconnected` if nobody listens there, others by errno.
  public static func connect(to path: String) throws(BlockError) -> MessageSocket {
    let descriptor = try make()
    let result = try withAddress(path) { address, length in Glibc.connect(descriptor.raw, address, length) }
    guard result == 0 else { throw .lastErrno(step: "connect to", object: path) }
    return MessageSocket(owning: descriptor)
  }

  /// Makes a listening socket at a path where nothing is, open to its owner alone.
  ///
  /// - Throws: By errno.
  public static func listen(at path: String) throws(BlockError) -> Descriptor {
    let descriptor = try make()
    // The mode before it can be found by anyone; bind(2) applies the umask, which is the process's.
    guard fchmod(descriptor.raw, 0o600) == 0 else { throw .lastErrno(step: "protect", object: path) }
    let result = try withAddress(path) { address, length in Glibc.bind(descriptor.raw, address, length) }
    guard result == 0 else { throw .lastErrno(step: "bind", object: path) }
    guard Glibc.listen(descriptor.raw, 8) == 0 else { throw .lastErrno(step: "listen at", object: path) }
    return descriptor
  }

  /// Waits for somebody to connect to a listening socket.
  ///
  /// - Throws: By errno.
  public static func accept(from listener: borrowing Descriptor) throws(BlockError) -> MessageSocket {
    while true {
      let raw = clinux_accept(listener.raw)
      if raw >= 0 { return MessageSocket(owning: Descriptor(owning: raw)) }
      if errno != EINTR && errno != ECONNABORTED { throw .lastErrno(step: "accept", object: "a connection") }
    }
  }

  private static func make() throws(BlockError) -> Descriptor {
    let raw = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | clinux_SOCK_CLOEXEC, 0)
    guard raw >= 0 else { throw .lastErrno(step: "make", object: "a socket") }
    return Descriptor(owning: raw)
  }

  private static func withAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(BlockError) -> Int32 {
    guard path.utf8.count <= SocketAddress.pathLimit else {
      throw BlockError(
        .invalidArgument, step: "use the socket", object: path,
        cause: "the path has \(path.utf8.count) bytes, and a socket's may have \(SocketAddress.pathLimit)",
        remedy: "Choose a shorter run directory (--run, ASHLAR_RUN).")
    }
    return SocketAddress.withAddress(path, body)
  }

  /// Sends a message.
  ///
  /// - Parameters:
  ///   - bytes: The message, at most ``messageLimit`` long and not empty.
  ///   - descriptors: What goes along; they stay the sender's.
  /// - Throws: `disconnected` if the other side is gone, others by errno.
  public func send(_ bytes: [UInt8], descriptors: [Int32] = []) throws(BlockError) {
    while true {
      let sent = clinux_send_with_fds(descriptor.raw, bytes, bytes.count, descriptors, descriptors.count)
      if sent == bytes.count { return }
      if sent < 0 && errno == EINTR { continue }
      throw .lastErrno(step: "send", object: "a message")
    }
  }

  /// Waits for a message.
  ///
  /// - Throws: By errno.
  public func receive() throws(BlockError) -> Received {
    var bytes = [UInt8](repeating: 0, count: Self.messageLimit)
    var descriptors = [Int32](repeating: -1, count: Self.descriptorLimit)
    while true {
      var count = descriptors.count
      let received = clinux_receive_with_fds(descriptor.raw, &bytes, bytes.count, &descriptors, &count)
      if received > 0 { return .message(Array(bytes[..<received]), Array(descriptors[..<count])) }
      if received == 0 { return .end }
      switch errno {
      case EINTR: continue
      case ECONNRESET: return .end
      default: throw .lastErrno(step: "receive", object: "a message")
      }
    }
  }

  /// Ends the connection for both sides; a thread that waits in ``receive()`` gets the end.
  public func shutDown() {
    // It fails if the other side has ended the connection already, which is what is wanted.
    _ = Glibc.shutdown(descriptor.raw, Int32(SHUT_RDWR))
  }
}
