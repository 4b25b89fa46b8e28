import Attachments
import BlockCore
import Glibc
import LinuxIO

// What becomes of a data server.
extension Attachment {
  /// How a data server has ended, in words.
  func endDescription(_ end: ChildProcess.End) -> String {
    // The kernel sends that, too, and says so in its own log only.
    guard case .signalled(SIGKILL) = end, killed == nil || killed?.pid != row.serverPid else {
      return "\(end)"
    }
    return "\(end) (out of memory?)"
  }

  /// Ends the data server at once, if it still runs.
  func killServer() {
    guard let server else { return }
    killed = server
    server.kill()
  }

  /// What is wrong with a data server that runs and does not answer.
  var silence: String? {
    guard let server, link != nil, isServerAlive else { return nil }
    if server.isStopped {
      return "its data server (process \(server.pid)) is stopped; to let it go on: kill -CONT \(server.pid)"
    }
    guard let askedAt, context.services.clock.now - askedAt >= context.deadlines.report else { return nil }
    return "its data server (process \(server.pid)) does not answer"
  }
}
