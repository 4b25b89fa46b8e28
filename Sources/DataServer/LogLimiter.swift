import LinuxIO
import Logging
import Synchronization

/// Keeps a failing disk from filling the log: one line a second, and how many were left out.
final class LogLimiter: Sendable {
  private struct State {
    var lastLine: Duration?
    var suppressed = 0
  }

  private let logger: Logger
  private let clock = LinuxClock()
  private let state = Mutex(State())

  init(_ log: Logger) {
    logger = log
  }

  func warning(_ message: String) { log(.warning, message) }

  /// Writes a line, unless the last one of this limiter is less than a second old.
  func log(_ level: Logger.Level, _ message: String) {
    let now = clock.now
    let suppressed = state.withLock { state -> Int? in
      if let last = state.lastLine, now - last < .seconds(1) {
        state.suppressed += 1
        return nil
      }
      state.lastLine = now
      defer { state.suppressed = 0 }
      return state.suppressed
    }
    guard let suppressed else { return }
    logger.log(level: level, "\(message)\(suppressed > 0 ? " (and \(suppressed) more like it)" : "")")
  }
}
