import Attachments
import BlockCore
import Glibc
import LinuxIO
import Synchronization

/// The manager's connection to a data server.
final class ServerLink: Sendable {
  /// What comes from the server.
  enum Event: Sendable {
    /// A message, and the device's descriptor if one came along.
    case message(ServerMessage, DeviceHold?)
    /// The server is gone, or cannot be understood, which comes to the same; then the error says why.
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
        post.yield(.message(try decodeMessage(ServerMessage.self, bytes), holds.first))
      }
    } catch {
      problem = error
    }
    post.yield(.end(problem))
    post.finish()
  }

  /// Sends a message.
  ///
  /// - Throws: `disconnected` if the server is gone.
  func send(_ message: ManagerMessage) throws(BlockError) {
    try socket.send(message)
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
