import BlockCore
import Handlers
import Logging

extension ServedImage {
  /// Opens a disk of a handler.
  ///
  /// - Parameters:
  ///   - handler: The handler.
  ///   - opening: What the disk is opened with; its messages go to the log.
  ///   - files: The host's files, of which the engine opens none for it.
  ///   - log: Where the handler's messages go.
  /// - Throws: What the handler throws.
  static func open(
    _ handler: any Handler, _ opening: HandlerOpening, _ files: PinnedFiles, _ log: Logger
  ) async throws(BlockError) -> ServedImage {
    var opening = opening
    // A failing disk has much to say; what it says while it is opened or closed is little.
    let limiter = LogLimiter(log)
    opening.log = { message in
      switch message.level {
      case .error, .warning: limiter.log(message.level.logLevel, message.text)
      case .info, .debug: log.log(level: message.level.logLevel, "\(message.text)")
      }
    }
    let opened = try await handler.open(opening)
    var image = ServedImage(opened.volume, format: handler.subtype)
    image.interceptor = opened.interceptor
    image.resizing = opened.resize
    image.cacheSetting = opened.setWriteCache
    image.closing = opened.close
    image.traits = opened.traits
    image.files = files
    return image
  }
}
