import BlockCore

/// Decodes a gzip file from its checkpoints, one request at a time.
///
/// One at a time, because requests that follow each other mostly want the same stretch between two
/// checkpoints: whoever waited finds it decoded.
actor GzipDecoder {
  private let gzip: any ByteSource
  private let index: GzipIndex
  private let workspace = Workspace()

  /// Compressed bytes fetched in one step.
  private static let stepByteCount = 64 << 10
  /// The most pages kept of what lies between two checkpoints.
  private static let pagesPerCall = 16

  init(_ gzip: any ByteSource, _ index: GzipIndex) {
    self.gzip = gzip
    self.index = index
  }

  /// Decodes a page and those that come with it: from the page on to the next checkpoint.
  ///
  /// - Parameters:
  ///   - number: The page.
  ///   - cached: What gives the page if it was decoded while the caller waited.
  /// - Throws: `corrupt` if the gzip file or its index is damaged, and what the files throw.
  func decode(
    _ number: UInt64, unless cached: @Sendable (UInt64) -> GzipSource.Page?
  ) async throws(BlockError) -> [(UInt64, GzipSource.Page)] {
    if let page = cached(number) { return [(number, page)] }
    let start = number * GzipSource.pageByteCount
    let checkpointNumber = index.checkpoint(before: start)
    let checkpoint = index.checkpoints[checkpointNumber]
    // All that the next checkpoint does not give more cheaply, but whole pages and no more than a few.
    let isLast = checkpointNumber + 1 == index.checkpoints.count
    let next = isLast ? index.contentByteCount : index.checkpoints[checkpointNumber + 1].contentOffset
    let pageSize = GzipSource.pageByteCount
    let pagesWanted = min(
      max((next + pageSize - 1) / pageSize, number + 1) - number, UInt64(Self.pagesPerCall))
    let end = min((number + pagesWanted) * pageSize, index.contentByteCount)

    let inflate = try await begin(checkpoint)
    var content: [UInt8] = []
    content.reserveCapacity(Int(end - start))
    var position = checkpoint.contentOffset
    var fileOffset = checkpoint.fileOffset
    var output = [UInt8](repeating: 0, count: Int(pageSize))
    var isAtEnd = false
    while position < end, !isAtEnd {
      let inputCount = Int(min(UInt64(Self.stepByteCount), gzip.byteCount - fileOffset))
      let input = try await gzip.bytes(at: fileOffset, byteCount: inputCount, using: workspace)
      var used = 0
      repeat {
        let step = input.withUnsafeBytes { input in
          output.withUnsafeMutableBytes { output in
            inflate.step(UnsafeRawBufferPointer(rebasing: input[used...]), into: output)
          }
        }
        guard let step else { throw damage(at: position) }
        used += step.consumed
        Self.collect(output[..<step.produced], at: position, start..<end, into: &content)
        position += UInt64(step.produced)
        isAtEnd = step.isAtEnd
        if step.consumed == 0 && step.produced == 0 { break }
      } while position < end && !isAtEnd
      fileOffset += UInt64(used)
      if used == 0 && !isAtEnd && position < end { throw damage(at: position) }
    }
    guard position >= end else { throw damage(at: position) }
    return pages(of: content, from: number)
  }

  /// Keeps what of some output lies in a range of the content.
  private static func collect(
    _ output: ArraySlice<UInt8>, at position: UInt64, _ range: Range<UInt64>, into content: inout [UInt8]
  ) {
    let end = position + UInt64(output.count)
    guard end > range.lowerBound, position < range.upperBound else { return }
    let first = position < range.lowerBound ? Int(range.lowerBound - position) : 0
    let last = end > range.upperBound ? Int(range.upperBound - position) : output.count
    content.append(contentsOf: output[first..<last])
  }

  private func pages(of content: [UInt8], from number: UInt64) -> [(UInt64, GzipSource.Page)] {
    let pageSize = Int(GzipSource.pageByteCount)
    return stride(from: 0, to: content.count, by: pageSize).map { start in
      let bytes = Array(content[start..<min(start + pageSize, content.count)])
      return (number + UInt64(start / pageSize), GzipSource.Page(bytes))
    }
  }

  /// A stream that stands at a checkpoint.
  private func begin(_ checkpoint: GzipIndex.Checkpoint) async throws(BlockError) -> Inflate {
    let stored = try await index.file.bytes(
      at: checkpoint.windowOffset, byteCount: Int(checkpoint.windowByteCount), using: workspace)
    let window = index.isCompressed ? Inflate.stream(stored, byteCount: GzipIndex.windowByteCount) : stored
    guard let window, window.count == GzipIndex.windowByteCount else {
      throw .corrupt(
        file: index.file.name, field: "window", at: checkpoint.windowOffset,
        "does not hold \(GzipIndex.windowByteCount) bytes")
    }
    var bitsBefore: UInt8 = 0
    if checkpoint.bits > 0 {
      bitsBefore = try await gzip.bytes(at: checkpoint.fileOffset - 1, byteCount: 1, using: workspace)[0]
    }
    guard let inflate = Inflate(.none) else {
      throw BlockError(.exhausted, step: "decode", object: gzip.name, cause: "there is no memory for zlib")
    }
    let value = checkpoint.bits == 0 ? 0 : bitsBefore >> (8 - checkpoint.bits)
    guard inflate.resume(window: window, bits: checkpoint.bits, value: value) else {
      throw damage(at: checkpoint.contentOffset)
    }
    return inflate
  }

  private func damage(at position: UInt64) -> BlockError {
    BlockError(
      .corrupt, step: "decode", object: gzip.name,
      cause: "the compressed bytes for content byte \(position) are not well formed, or end there",
      remedy: "The file is damaged, or its gzip index belongs to another file; fetch both again.")
  }
}
