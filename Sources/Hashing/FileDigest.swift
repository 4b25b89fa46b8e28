import BlockCore

extension Digest256 {
  /// The digest of a source's bytes, from first to last.
  ///
  /// - Parameters:
  ///   - source: What to read.
  ///   - advance: Told of the bytes that are done, as they are done.
  /// - Throws: What reading throws; `cancelled` if the task is cancelled.
  public static func of(
    _ source: any ByteSource, _ advance: (UInt64) -> Void = { _ in }
  ) async throws(BlockError) -> Digest256 {
    let workspace = Workspace()
    var hash = try SHA256()
    var buffer = [UInt8](repeating: 0, count: Limits.requestBytes)
    var offset: UInt64 = 0
    while offset < source.byteCount {
      if Task.isCancelled {
        throw BlockError(.cancelled, step: "read", object: source.name, cause: "the work was called off")
      }
      let count = Int(min(UInt64(buffer.count), source.byteCount - offset))
      source.willNeed(offset + UInt64(count)..<min(offset + 4 * UInt64(count), source.byteCount))
      do {
        var span = buffer.mutableSpan
        var bytes = span.mutableBytes
        var part = bytes._mutatingExtracting(0..<count)
        try await source.readAnyhow(at: offset, into: &part, using: workspace)
      }
      try hash.update(buffer.span.bytes.extracting(0..<count))
      offset += UInt64(count)
      advance(UInt64(count))
    }
    return try hash.finish()
  }
}
