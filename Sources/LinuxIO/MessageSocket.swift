import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A Unix socket that carries whole messages, each with descriptors if need be (`SOCK_SEQPACKET`).
public struct MessageSocket: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Bytes of a message's part: what a socket's buffer holds in any case.
  ///
  /// A byte in front of each says whether
  /// more follow.
  private static let partLimit = 64 << 10
  /// How long the other side may take to make room for a part, or to be connected to: one that is stopped never does.
  public static let patience = Duration.seconds(2)
  /// Bytes of a socket's path (unix(7)).
  public static let pathLimit = SocketAddress.pathLimit
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
  /// Waits for ``patience`` at most if many others do.
  ///
  /// - Throws: `disconnected` if nobody listens there, `timedOut` if he does not answer, others by errno.
  public static func connect(to path: String) throws(BlockError) -> MessageSocket {
    let descriptor = try make()
    let result = try withAddress(path) { address, length in Glibc.connect(descriptor.raw, address, length) }
    guard result == 0 else { throw Self.error(step: "connect to", object: path) }
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
      if raw >= 0 {
        let descriptor = Descriptor(owning: raw)
        try limitWaiting(descriptor)
        return MessageSocket(owning: descriptor)
      }
      if errno != EINTR && errno != ECONNABORTED { throw .lastErrno(step: "accept", object: "a connection") }
    }
  }

  /// Lets somebody in who waits at a listening socket; `nil` if nobody does.
  ///
  /// - Throws: By errno.
  public static func acceptIfWaiting(at listener: borrowing Descriptor) throws(BlockError) -> MessageSocket? {
    var waiting = pollfd(fd: listener.raw, events: Int16(POLLIN), revents: 0)
    return poll(&waiting, 1, 0) > 0 ? try accept(from: listener) : nil
  }

  /// The path at which a socket listens.
  ///
  /// - Throws: `invalidArgument` for one that has none, others by errno.
  public static func path(of listener: borrowing Descriptor) throws(BlockError) -> String {
    var address = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(listener.raw, $0, &length) }
    }
    guard result == 0 else { throw .lastErrno(step: "ask for the path of", object: "a socket") }
    return withUnsafeBytes(of: &address.sun_path) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  private static func make() throws(BlockError) -> Descriptor {
    let raw = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | clinux_SOCK_CLOEXEC, 0)
    guard raw >= 0 else { throw .lastErrno(step: "make", object: "a socket") }
    let descriptor = Descriptor(owning: raw)
    try limitWaiting(descriptor)
    return descriptor
  }

  private static func limitWaiting(_ descriptor: borrowing Descriptor) throws(BlockError) {
    var time = timeval(tv_sec: Int(patience.components.seconds), tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    guard setsockopt(descriptor.raw, SOL_SOCKET, SO_SNDTIMEO, &time, size) == 0 else {
      throw .lastErrno(step: "set up", object: "a socket")
    }
  }

  /// The error of the last system call, which may be that the time for it is over.
  private static func error(step: String, object: String) -> BlockError {
    guard errno == EAGAIN else { return .lastErrno(step: step, object: object) }
    return BlockError(
      .timedOut, step: step, object: object, cause: "the other side has taken nothing for \(patience)")
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

  /// Sends a message; one thread at a time.
  ///
  /// - Parameters:
  ///   - bytes: The message, at most ``BlockCore/Limits/messageBytes`` long and not empty.
  ///   - descriptors: What goes along; they stay the sender's.
  /// - Throws: `outOfRange` for one that is too long, `disconnected` if the other side is gone, `timedOut` if it does
  ///   not take it, others by errno. Of a message that failed after its first part the connection ends.
  public func send(_ bytes: [UInt8], descriptors: [Int32] = []) throws(BlockError) {
    guard bytes.count <= Limits.messageBytes else {
      throw BlockError(
        .outOfRange, step: "send", object: "a message",
        cause: "it has \(bytes.count) bytes, and \(Limits.messageBytes) are allowed")
    }
    var rest = bytes[...]
    repeat {
      let part = rest.prefix(Self.partLimit)
      let isFirst = rest.count == bytes.count
      rest = rest.dropFirst(part.count)
      do throws(BlockError) {
        try send(part: [rest.isEmpty ? 0 : 1] + part, rest.isEmpty ? descriptors : [])
      } catch {
        // What comes next would be taken for its end.
        if !isFirst { shutDown() }
        throw error
      }
    } while !rest.isEmpty
  }

  private func send(part: [UInt8], _ descriptors: [Int32]) throws(BlockError) {
    while true {
      let sent = clinux_send_with_fds(descriptor.raw, part, part.count, descriptors, descriptors.count)
      if sent == part.count { return }
      if sent < 0 && errno == EINTR { continue }
      throw Self.error(step: "send", object: "a message")
    }
  }

  /// Waits for a message; one thread at a time.
  ///
  /// - Throws: `corrupt` for one that is too long, others by errno.
  public func receive() throws(BlockError) -> Received {
    var part = [UInt8](repeating: 0, count: Self.partLimit + 1)
    var descriptors = [Int32](repeating: -1, count: Self.descriptorLimit)
    var bytes: [UInt8] = []
    while true {
      var count = descriptors.count
      let received = clinux_receive_with_fds(descriptor.raw, &part, part.count, &descriptors, &count)
      // The kernel tells first, and once, that the other side has ended without reading all that was sent to it; what
      // it had said before that is still to be read.
      if received < 0 && (errno == EINTR || errno == ECONNRESET) { continue }
      if received == 0 { return .end }
      guard received > 0 else { throw .lastErrno(step: "receive", object: "a message") }
      bytes += part[1..<received]
      if part[0] == 0 { return .message(bytes, Array(descriptors[..<count])) }
      for index in 0..<count { close(descriptors[index]) }
      guard bytes.count <= Limits.messageBytes else {
        throw BlockError(.corrupt, step: "receive", object: "a message", cause: "it does not end")
      }
    }
  }

  /// Ends the connection for both sides; a thread that waits in ``receive()`` gets the end.
  public func shutDown() {
    // It fails if the other side has ended the connection already, which is what is wanted.
    _ = Glibc.shutdown(descriptor.raw, Int32(SHUT_RDWR))
  }
}
