import BlockCore
import Glibc
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import Synchronization

/// Listens at a socket, and anew when somebody has removed that.
struct APIListener<Responder: HTTPResponder>: ServiceLifecycle.Service
where Responder.Context: InitializableFromSource<ApplicationRequestContextSource> {
  /// The socket's path.
  let socket: String
  /// What tells that the socket may be gone.
  let checks: SocketChecks
  /// Where it reports.
  let log: Logger
  /// Makes what listens and answers, given what it is to call when it listens.
  let application: @Sendable (@escaping @Sendable (any Channel) async -> Void) -> Application<Responder>

  /// One of the sockets that stood at the path.
  private final class Listening: Sendable {
    private let state = Mutex<(channel: (any Channel)?, inode: UInt64, isReplaced: Bool)>((nil, 0, false))
    /// Ends when it listens, or will not.
    let begun: AsyncStream<Void>
    private let begin: AsyncStream<Void>.Continuation

    init() { (begun, begin) = AsyncStream.makeStream() }

    func listens(_ channel: any Channel, at path: String) {
      state.withLock { $0 = (channel, Self.inode(path) ?? 0, $0.isReplaced) }
      begin.finish()
    }

    func failed() { begin.finish() }

    /// Whether the path does not lead to it any more.
    func isLost(_ path: String) -> Bool {
      state.withLock { $0.channel == nil || Self.inode(path) != $0.inode }
    }

    var isReplaced: Bool { state.withLock { $0.isReplaced } }

    /// Nobody can come any more; who is there is still answered.
    func replace() {
      let channel = state.withLock { state in
        state.isReplaced = true
        return state.channel
      }
      channel?.close(promise: nil)
    }

    private static func inode(_ path: String) -> UInt64? {
      var status = stat()
      return lstat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }
  }

  func run() async throws {
    var current = Listening()
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { [current] in try await serve(current) }
      for await _ in current.begun {}
      for await _ in checks.stream.cancelOnGracefulShutdown() where current.isLost(socket) {
        log.warning("\(socket) was removed; it is made anew")
        current.replace()
        current = Listening()
        group.addTask { [current] in await serveAgain(current) }
        for await _ in current.begun {}
      }
    }
  }

  private func serve(_ listening: Listening) async throws {
    let socket = self.socket
    do {
      try await application { channel in listening.listens(channel, at: socket) }.run()
    } catch {
      // The end of its channel looks like a failure.
      guard listening.isReplaced else { throw error }
    }
  }

  /// One that cannot listen leaves the manager without a socket, and at work.
  private func serveAgain(_ listening: Listening) async {
    do {
      try await serve(listening)
    } catch {
      log.error("cannot listen at \(socket): \(error)")
      listening.failed()
      do {
        try await Task.sleep(for: .seconds(1))
      } catch {
        // The manager ends.
        return
      }
      checks.check()
    }
  }
}

/// Tells a manager's interface that its socket may be gone.
public struct SocketChecks: Sendable {
  let stream: AsyncStream<Void>
  private let post: AsyncStream<Void>.Continuation

  /// Nothing to tell yet.
  public init() { (stream, post) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

  /// Has the interface look whether its socket is there, and make it anew if not; on any thread.
  public func check() { post.yield() }
}
