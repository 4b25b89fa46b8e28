import BlockCore
import Handlers
import Logging

extension ServedImage {
  /// Opens a disk of a handler.
  ///
  /// - Parameters:
  ///   - handler: The handler.
  ///   - opening: What the disk is opened with; its messages go to the log.
  ///   - log: Where the handler's messages go.
  /// - Throws: What the handler throws.
  static func open(
    _ handler: any Handler, _ opening: HandlerOpening, _ log: Logger
  ) async throws(BlockError) -> ServedImage {
    var opening = opening
    opening.log = { log.log(level: $0.level.logLevel, "\($0.text)") }
    let opened = try await handler.open(opening)
    var image = ServedImage(opened.volume, format: handler.subtype)
    image.interceptor = opened.interceptor
    image.resizing = opened.resize
    image.cacheSetting = opened.setWriteCache
    image.closing = opened.close
    image.traits = opened.traits
    return image
  }
}
