import Attachments
import BlockCore
import FoundationEssentials
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import SystemPackage

/// Speaks to a manager over its Unix socket, one request to a connection.
public struct APIClient: Sendable {
  /// What is to be done with a resource.
  public enum Method: String, Sendable {
    /// Say what it is.
    case get = "GET"
    /// Do something.
    case post = "POST"
    /// Remove it.
    case delete = "DELETE"
  }

  /// How long an answer may take.
  public enum Patience: Sendable {
    /// Not much longer than a manager is given that does not answer at all.
    case quick
    /// As long as the manager, asked meanwhile, says that it is there: it has deadlines of its own.
    case long
  }

  let directories: EngineDirectories
  let timeout: Duration
  private let checksRoot: Bool
  private var socket: String { directories.apiSocket }

  /// Makes a client of an instance's manager.
  ///
  /// - Parameters:
  ///   - directories: The instance's.
  ///   - timeout: After what time a manager that does not answer is given up.
  ///   - checksRoot: Whether a manager that has another root is to refuse what it is asked, with `conflict`: what is
  ///     attached would stand in another journal.
  public init(_ directories: EngineDirectories, timeout: Duration, checksRoot: Bool = false) {
    self.directories = directories
    self.timeout = timeout
    self.checksRoot = checksRoot
  }

  /// Asks the manager for something.
  ///
  /// - Parameters:
  ///   - method: The HTTP method.
  ///   - path: The path with its query, percent-encoded.
  ///   - body: What to send along, as JSON.
  ///   - patience: How long the answer may take; quick for what only looks, and long for what does something, if
  ///     nothing else is said.
  ///   - onRefusal: Called with all of an answer that is no success, before the error is thrown.
  /// - Returns: The answer.
  /// - Throws: `disconnected` if no manager listens there or it went away; `timedOut` if it does not answer; what the
  ///   manager answers.
  public func call<Reply: Decodable & Sendable>(
    _ method: Method, _ path: String, body: (some Encodable & Sendable)? = Optional<String>.none,
    patience: Patience? = nil, onRefusal: (ErrorReply) -> Void = { _ in }
  ) async throws(BlockError) -> Reply {
    let body = try body.map(encode)
    let (status, bytes) = try await answer(within: patience ?? (method == .get ? .quick : .long)) {
      () async throws(BlockError) in try await exchange(method, path, body: body)
    }
    do {
      if (200..<300).contains(status) { return try JSONDecoder().decode(Reply.self, from: Data(bytes)) }
    } catch {
      throw BlockError(
        .ioError, step: "understand the answer of", object: "the manager", cause: "\(error)",
        remedy: "Check that the command and the daemon are of the same release.")
    }
    guard let reply = try? JSONDecoder().decode(ErrorReply.self, from: Data(bytes)) else {
      throw BlockError(
        .ioError, step: "ask", object: "the manager", cause: "it answered with HTTP status \(status)",
        remedy: "Check that the command and the daemon are of the same release.")
    }
    onRefusal(reply)
    throw reply.error.error
  }

  private func encode(_ body: some Encodable) throws(BlockError) -> ByteBuffer {
    do {
      return ByteBuffer(bytes: try JSONEncoder().encode(body))
    } catch {
      throw BlockError(.ioError, step: "encode", object: "a request", cause: "\(error)")
    }
  }

  /// The root as a header may hold it.
  private var encodedRoot: String {
    var components = URLComponents()
    components.path = directories.root
    return components.percentEncodedPath
  }

  private typealias Channel = NIOAsyncChannel<HTTPClientResponsePart, HTTPPart<HTTPRequestHead, ByteBuffer>>

  /// One thread for all exchanges of a process; NIO's own group would start one for each processor.
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  func exchange(
    _ method: Method, _ path: String, body: ByteBuffer?
  ) async throws(BlockError) -> (status: UInt, body: [UInt8]) {
    do {
      return try await connect().executeThenClose { inbound, outbound in
        var head = HTTPRequestHead(
          version: .http1_1, method: HTTPMethod(rawValue: method.rawValue), uri: path)
        head.headers.add(name: "host", value: "ashlar")
        head.headers.add(name: "connection", value: "close")
        if checksRoot { head.headers.add(name: ManagerStatus.rootHeader, value: encodedRoot) }
        head.headers.add(name: "content-length", value: "\(body?.readableBytes ?? 0)")
        // In one go: the other side may answer and close as soon as it has seen what it needs.
        let parts: [HTTPPart<HTTPRequestHead, ByteBuffer>] = [.head(head)] + (body.map { [.body($0)] } ?? [])
        try await outbound.write(contentsOf: parts + [.end(nil)])
        var status: UInt?
        var bytes: [UInt8] = []
        for try await part in inbound {
          switch part {
          case .head(let head): status = head.status.code
          case .body(let buffer): bytes += buffer.readableBytesView
          case .end: break
          }
        }
        guard let status else { throw ChannelError.eof }
        return (status, bytes)
      }
    } catch {
      // In the system's words, not in the library's.
      let cause = (error as? IOError).map { "\(Errno(rawValue: $0.errnoCode))" } ?? "\(error)"
      throw BlockError(
        .disconnected, step: "speak to", object: "the manager at \(socket)", cause: cause,
        remedy: "See whether it runs: ashlar daemon status.")
    }
  }

  /// Connects; whoever finds too many waiting there waits himself, until his task is cancelled.
  private func connect() async throws -> Channel {
    while true {
      do {
        return try await ClientBootstrap(group: Self.group).connect(unixDomainSocketPath: socket) { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHTTPClientHandlers()
            try channel.pipeline.syncOperations.addHandler(RequestParts())
            return try Channel(wrappingChannelSynchronously: channel)
          }
        }
      } catch let error as IOError where error.errnoCode == EAGAIN {
        try await Task.sleep(for: Self.retryPause)
      }
    }
  }

  /// The pause before a connection is tried again for which there was no place to wait.
  private static let retryPause = Duration.milliseconds(20)
}

/// Lets a request be written in buffers, as the rest of NIO does it.
private final class RequestParts: ChannelOutboundHandler {
  typealias OutboundIn = HTTPPart<HTTPRequestHead, ByteBuffer>
  typealias OutboundOut = HTTPClientRequestPart

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let part: HTTPClientRequestPart =
      switch unwrapOutboundIn(data) {
      case .head(let head): .head(head)
      case .body(let buffer): .body(.byteBuffer(buffer))
      case .end(let trailers): .end(trailers)
      }
    context.write(wrapOutboundOut(part), promise: promise)
  }
}
