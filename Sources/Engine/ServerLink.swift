import Attachments
import BlockCore
import Glibc
import LinuxIO
import Synchronization

/// The manager's connection to a data server.
final class ServerLink: Sendable {
  /// What comes from the server.
  enum Event: Sendable {
    /// A message with the number of the request that it answers, and the device's descriptor if one came along.
    case message(ServerMessage, request: UInt64?, DeviceHold?)
    /// A message that this release does not understand; the connection goes on.
    case notUnderstood(kind: String, request: UInt64?, reason: String)
    /// The connection has ended; the error says why if not because the server is gone.
    case end(BlockError?)
  }

  private let socket: MessageSocket
  /// What comes from the server, in order; ends with ``Event/end``.
  let events: AsyncStream<Event>

  /// Connects to a data server.
  ///
  /// - Throws: `disconnected` or `notFound` if none listens there.
  init(_ path: String) throws(BlockError) {
    socket = try MessageSocket.connect(to: path)
    let (events, post) = AsyncStream<Event>.makeStream()
    self.events = events
    try WorkerThread.start(name: "server link") { [self] in read(post) }
  }

  private func read(_ post: AsyncStream<Event>.Continuation) {
    var problem: BlockError?
    do throws(BlockError) {
      while case .message(let bytes, let descriptors) = try socket.receive() {
        let holds = descriptors.map { DeviceHold(Descriptor(owning: $0)) }
        switch Incoming<ServerMessage>(bytes) {
        case .message(let message, let request): post.yield(.message(message, request: request, holds.first))
        case .notUnderstood(let kind, let request, let reason):
          post.yield(.notUnderstood(kind: kind, request: request, reason: reason))
        }
      }
    } catch {
      problem = error
    }
    post.yield(.end(problem))
    post.finish()
  }

  /// Sends a message.
  ///
  /// - Parameters:
  ///   - message: The message.
  ///   - request: Its number, if its answer is to have it.
  /// - Throws: `disconnected` if the server is gone.
  func send(_ message: ManagerMessage, request: UInt64? = nil) throws(BlockError) {
    try socket.send(message, request: request)
  }

  /// Sends a message, unless the server is gone already: then its end is on its way to us.
  ///
  /// - Throws: What else keeps it from being sent.
  func sendUnlessGone(_ message: ManagerMessage, request: UInt64? = nil) throws(BlockError) {
    do throws(BlockError) {
      try send(message, request: request)
    } catch  where error.kind == .disconnected {
      return
    }
  }

  /// Ends the connection.
  func close() {
    socket.shutDown()
  }
}

/// The manager's part in keeping a device: an open descriptor.
///
/// It keeps the device's number from being given to another disk while users may still think it theirs,
/// and keeps the data server from being the last one to close its own disk.
final class DeviceHold: Sendable {
  private let descriptor: Mutex<Descriptor?>

  init(_ descriptor: consuming Descriptor) {
    self.descriptor = Mutex(descriptor)
  }

  /// Lets the device go.
  func release() {
    descriptor.withLock { $0 = nil }
  }
}
