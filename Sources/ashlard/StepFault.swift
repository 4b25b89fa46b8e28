import BlockCore
import Glibc
import LinuxIO
import Logging
import Synchronization

/// A failure, or our sudden end, at one step of sandboxes or attachments: what tests of recovery ask for.
enum StepFault {
  /// What to do at every step; nothing without a file.
  ///
  /// The file may be written at any time. It holds `STEP:kill` or `STEP:fail`; STEP is a number, counted from 1 since it
  /// was written, or the name of a step. The fault is logged, the file removed, and then it happens.
  ///
  /// - Parameters:
  ///   - path: The file's path; it need not be there.
  ///   - log: Where to say so.
  static func steps(_ path: String?, log: Logger) -> @Sendable (String) throws(BlockError) -> Void {
    guard let path else { return { _ throws(BlockError) in } }
    let armed = Mutex<(wish: String, count: Int)>(("", 0))
    return { step throws(BlockError) in
      let wish = SmallFile.text(path) ?? ""
      let count = armed.withLock { armed in
        armed = (wish, armed.wish == wish ? armed.count + 1 : 1)
        return armed.count
      }
      let parts = wish.split(separator: ":")
      guard parts.count == 2, parts[0] == "\(count)" || parts[0] == step else { return }
      log.notice("the fault at step \(count): \(step)")
      unlink(path)
      if parts[1] == "kill" { kill(getpid(), SIGKILL) }
      throw BlockError(.ioError, step: "take the step", object: step, cause: "a test has made it fail")
    }
  }
}
