import Handlers
import Logging

extension HandlerMessage.Level {
  /// The log's level for it.
  var logLevel: Logger.Level {
    switch self {
    case .error: .error
    case .warning: .warning
    case .info: .info
    case .debug: .debug
    }
  }
}
