import BlockCore

extension GzipSource {
  /// Decodes the whole file from its beginning, holds it against its own checksum and length, and holds what
  /// the index leads to against what is really there.
  ///
  /// - Parameter onProgress: Told how many bytes of content more have been checked.
  /// - Throws: `checksumMismatch` or `corrupt`, saying where; what reading the files throws.
  public func check(onProgress: (UInt64) -> Void) async throws(BlockError) {
    let workspace = Workspace()
    guard let inflate = Inflate(.gzip) else {
      throw BlockError(.exhausted, step: "check", object: gzip.name, cause: "there is no memory for zlib")
    }
    var output = [UInt8](repeating: 0, count: Int(Self.pageByteCount))
    var fileOffset: UInt64 = 0
    var position: UInt64 = 0
    var isAtEnd = false
    while !isAtEnd {
      let count = Int(min(Self.pageByteCount, gzip.byteCount - fileOffset))
      let input = try await gzip.bytes(at: fileOffset, byteCount: count, using: workspace)
      let step = input.withUnsafeBytes { input in
        output.withUnsafeMutableBytes { output in inflate.step(input, into: output) }
      }
      guard let step, step.consumed + step.produced > 0 || step.isAtEnd else { throw mismatch(at: position) }
      fileOffset += UInt64(step.consumed)
      try await compare(output[..<step.produced], at: position, using: workspace)
      position += UInt64(step.produced)
      isAtEnd = step.isAtEnd
      onProgress(UInt64(step.produced))
    }
    guard position == byteCount else {
      throw BlockError(
        .corrupt, step: "check", object: index.file.name,
        cause: "uncompress_file_size at byte 49 is \(byteCount), and \(gzip.name) holds \(position) bytes",
        remedy: "Build the gzip index again.")
    }
  }

  /// zlib refuses bytes that are not well formed, and a checksum or length at the end that does not fit.
  private func mismatch(at position: UInt64) -> BlockError {
    BlockError(
      .checksumMismatch, step: "check", object: gzip.name,
      cause: "the stream is damaged, or its checksum is wrong, at or before content byte \(position)",
      remedy: "The file is damaged; fetch it again.")
  }

  private func compare(
    _ content: ArraySlice<UInt8>, at position: UInt64, using workspace: Workspace
  ) async throws(BlockError) {
    let indexed = try await bytes(at: position, byteCount: content.count, using: workspace)
    guard indexed.elementsEqual(content) else {
      throw BlockError(
        .corrupt, step: "check", object: index.file.name,
        cause: "the checkpoint before content byte \(position) leads to other bytes than are there",
        remedy: "Build the gzip index again.")
    }
  }
}
