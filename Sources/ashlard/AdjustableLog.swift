import Logging
import Synchronization

/// How much this process logs: one level for all its loggers, which may change while they are in use.
enum AdjustableLog {
  private static let level = Mutex(Logger.Level.info)

  /// The least severe level that is logged.
  static var current: Logger.Level {
    get { level.withLock { $0 } }
    set { level.withLock { $0 = newValue } }
  }

  /// A log on standard error that goes by it.
  struct Handler: LogHandler {
    private var stream: StreamLogHandler

    init(label: String) {
      stream = .standardError(label: label)
      stream.logLevel = .trace
    }

    var metadata: Logger.Metadata {
      get { stream.metadata }
      set { stream.metadata = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { stream[metadataKey: key] }
      set { stream[metadataKey: key] = newValue }
    }

    var logLevel: Logger.Level {
      get { AdjustableLog.current }
      // One logger alone has none of its own.
      set { AdjustableLog.current = newValue }
    }

    func log(event: LogEvent) { stream.log(event: event) }
  }
}
