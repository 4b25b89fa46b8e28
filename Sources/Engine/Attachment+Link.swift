import Attachments
import BlockCore
import LinuxIO
import Logging

// The connection to the data server: whoever cannot be understood or reached is not dead.
extension Attachment {
  /// The longest pause between two tries to reach a server that lives.
  private static let longestPause = Duration.seconds(30)

  /// Takes over a connection to the server.
  ///
  /// - Parameter isOurChild: Whether the kernel tells us how the server ends; otherwise the end of its process is
  ///   looked for when the connection has ended.
  func connect(_ link: ServerLink, isOurChild: Bool) {
    self.link = link
    isServing = true
    Task {
      for await event in link.events {
        // What comes late of a server that was replaced says nothing of the one that serves now.
        guard self.link === link else { continue }
        switch event {
        case .message(let message, let request, let hold): receive(message, request, hold)
        case .notUnderstood(let kind, let request, let reason): receiveUnknown(kind, request, reason)
        case .end(let error):
          if let error { context.log.notice("\(id): the connection to its data server failed: \(error)") }
          linkEnded(isOurChild: isOurChild)
        }
      }
    }
  }

  /// Takes over a connection to a server that another manager may have started; if that was our process, before its
  /// program was replaced, the server is a child of ours.
  func adopt(_ link: ServerLink) {
    if let pid = server?.pid, pid != reapedPid, ChildProcess.isOurs(pid) {
      do throws(BlockError) {
        try reap(pid)
      } catch {
        // Its end is seen all the same, only without its status.
        context.log.error("\(id): \(error)")
      }
    }
    connect(link, isOurChild: server != nil && server?.pid == reapedPid)
  }

  private func linkEnded(isOurChild: Bool) {
    link = nil
    askedAt = nil
    counterRequests.end(with: nil)
    lateResets = []
    changeRequests.end(with: .failure(serverLost("change")))
    if let childEnd { return serverEnded(childEnd) }
    let ending = server
    Task {
      // Its process is about to end, as a rule: that is how a server closes its connection.
      let clock = context.services.clock
      let end = clock.now + context.deadlines.kill
      while let ending, ending.isAlive, clock.now < end { try await clock.sleep(for: .milliseconds(10)) }
      // Another one may serve by then, or the child's end may have been told.
      guard isServing, server == ending, link == nil else { return }
      if let ending, ending.isAlive { return serverIsOutOfReach(ending) }
      if !isOurChild { serverEnded(.unknown) }
    }
  }

  /// The connection has ended, and the server has not.
  private func serverIsOutOfReach(_ server: ProcessIdentity) {
    // Nobody was told of a device that was not committed, and its server should have ended with the connection.
    if state == .attaching { return killServer() }
    problem = "the connection to its data server (process \(server.pid)) has ended, although that lives"
    context.log.error("\(id): \(problem ?? "")")
    Task { try await reconnect(server) }
  }

  /// Goes on trying to reach a server that lives.
  func reconnectInBackground() {
    guard let server else { return }
    Task { try await reconnect(server) }
  }

  /// Connects again, and again, to a server that lives; whatever its connection does, it may serve a device in use.
  private func reconnect(_ server: ProcessIdentity) async throws {
    let clock = context.services.clock
    var pause = Duration.milliseconds(100)
    while isServing, self.server == server, link == nil, server.isAlive {
      do throws(BlockError) {
        let link = try ServerLink(context.directories.serverSocket(exportName))
        adopt(link)
        if state == .detaching { try link.send(.detach, request: nextRequest()) }
        return
      } catch {
        context.log.debug("\(id): \(error)")
      }
      try await clock.sleep(for: pause)
      pause = min(pause * 2, Self.longestPause)
    }
    if isServing, self.server == server, link == nil, !server.isAlive, server.pid != reapedPid {
      serverEnded(.unknown)
    }
  }
}
