import BlockCore
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1

/// How many connections may be open at one time: others wait in the kernel until one is closed.
///
/// Without a bound a process without descriptors would ask the kernel for them again and again.
struct ConnectionBound: AvailableConnectionsDelegate {
  private let limit: Int
  private let log: Logger
  private var count = 0
  private var hasSaid = false

  /// Makes a bound.
  ///
  /// - Parameters:
  ///   - openFiles: How many files the process may have open.
  ///   - log: Where to say that it was reached.
  init(openFiles: Int, log: Logger) {
    limit = min(Limits.apiConnections, max((openFiles - Limits.descriptorsKept) / 4, 4))
    self.log = log
  }

  mutating func connectionOpened() {
    count += 1
    guard count >= limit, !hasSaid else { return }
    hasSaid = true
    log.warning(
      "\(limit) connections are open, as many as there may be; whoever comes now waits until one is closed")
  }

  mutating func connectionClosed() {
    count -= 1
    if count < limit / 2 { hasSaid = false }
  }

  func isAcceptingNewConnections() -> Bool { count < limit }
}

/// HTTP/1.1 as Hummingbird speaks it, which closes the connection of who speaks HTTP/1.0 and has not asked to keep it.
struct HTTPChannel: ServerChildChannel {
  typealias Value = HTTP1Channel.Value

  private let http: HTTP1Channel

  init(_ responder: @escaping HTTPChannelHandler.Responder) {
    http = HTTP1Channel(
      responder: responder,
      configuration: .init(idleTimeout: .nanoseconds(Int64(Limits.apiIdleTime / .nanoseconds(1)))))
  }

  func setup(channel: any NIOCore.Channel, logger: Logger) -> EventLoopFuture<Value> {
    http.setup(channel: channel, logger: logger).flatMapThrowing { value in
      let pipeline = value.channel.pipeline.syncOperations
      let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
      try pipeline.addHandler(VersionHandler(), position: .after(decoder))
      return value
    }
  }

  func handle(value: Value, logger: Logger) async { await http.handle(value: value, logger: logger) }
}

/// Has a connection closed after the answer as the request's version of HTTP wants it.
private final class VersionHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard case .head(var head) = unwrapInboundIn(data), !head.isKeepAlive else {
      return context.fireChannelRead(data)
    }
    head.headers.replaceOrAdd(name: "connection", value: "close")
    context.fireChannelRead(wrapInboundOut(.head(head)))
  }
}
