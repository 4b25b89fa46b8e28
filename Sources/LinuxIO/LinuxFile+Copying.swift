import BlockCore

extension LinuxFile {
  /// Writes a part of this file to another one, but for its pages of zeros: they stay the holes that they are there.
  ///
  /// What is mapped is handed to the kernel from the mapping, so that each byte is copied once.
  ///
  /// - Parameters:
  ///   - range: The part, in bytes; with data, or a look through the mapping could fill holes (tmpfs).
  ///   - target: A file whose part is a hole as yet.
  ///   - offset: Where the part begins there.
  ///   - workspace: The caller's.
  /// - Returns: How many bytes were written.
  /// - Throws: What reading and writing throw.
  public func copyData(
    _ range: Range<UInt64>, to target: any BlockFile, at offset: UInt64, using workspace: Workspace
  ) async throws(BlockError) -> UInt64 {
    try checkRange(at: range.lowerBound, byteCount: range.count)
    willNeed(range)
    var written: UInt64 = 0
    guard isMapped(range) else {
      let bytes = try await bytes(at: range.lowerBound, byteCount: range.count, using: workspace)
      for run in bytes.span.bytes.dataRuns {
        try await target.write(
          at: offset + UInt64(run.lowerBound), from: bytes.span.bytes.extracting(run), isDurable: false)
        written += UInt64(run.count)
      }
      return written
    }
    var position = Int(range.lowerBound)
    while let run = try nextDataRun(from: position, in: range, at: offset) {
      let bytes = mapping.unreadBytes(run)
      try await target.write(
        at: offset + UInt64(run.lowerBound) - range.lowerBound, from: bytes.bytes, isDurable: false)
      written += UInt64(run.count)
      position = run.upperBound
    }
    return written
  }

  /// Whether another file has, in pages that are not all zeros, the bytes of a part of this one.
  ///
  /// - Parameters:
  ///   - range: The part, in bytes; with data, as above.
  ///   - other: The other file.
  ///   - offset: Where the part begins there.
  ///   - workspace: The caller's.
  /// - Throws: What reading throws.
  public func hasCopy(
    of range: Range<UInt64>, in other: LinuxFile, at offset: UInt64, using workspace: Workspace
  ) async throws(BlockError) -> Bool {
    try checkRange(at: range.lowerBound, byteCount: range.count)
    try other.checkRange(at: offset, byteCount: range.count)
    willNeed(range)
    other.willNeed(offset..<offset + UInt64(range.count))
    guard isMapped(range), other.isMapped(offset..<offset + UInt64(range.count)) else {
      let bytes = try await bytes(at: range.lowerBound, byteCount: range.count, using: workspace)
      return try await other.bytes(at: offset, byteCount: range.count, using: workspace) == bytes
    }
    var position = Int(range.lowerBound)
    while let run = try nextDataRun(from: position, in: range, at: offset) {
      let there = Int(offset) + run.lowerBound - Int(range.lowerBound)
      guard let isSame = mapping.isSame(run, as: other.mapping, at: there) else { throw unreadable(range) }
      guard isSame else { return false }
      position = run.upperBound
    }
    return true
  }

  private func isMapped(_ range: Range<UInt64>) -> Bool { range.upperBound <= UInt64(mapping.byteCount) }

  /// The next run of pages of the other file that are not all zeros here, in bytes of this one.
  private func nextDataRun(
    from position: Int, in range: Range<UInt64>, at offset: UInt64
  ) throws(BlockError) -> Range<Int>? {
    let end = Int(range.upperBound)
    var start = position
    var stop = position
    while stop < end {
      let there = Int(offset) + stop - Int(range.lowerBound)
      let next = min(stop + Limits.pageSize - there % Limits.pageSize, end)
      guard let isZero = mapping.isZero(stop..<next) else { throw unreadable(range) }
      if isZero {
        if stop > start { break }
        start = next
      }
      stop = next
    }
    return start < stop ? start..<stop : nil
  }

  private func unreadable(_ range: Range<UInt64>) -> BlockError {
    BlockError(
      .ioError, step: "read", object: name,
      cause: "\(range.count) bytes at byte \(range.lowerBound) cannot be read",
      remedy: "Look into the kernel's log for the disk beneath it, and whether the file was cut short.")
  }
}
