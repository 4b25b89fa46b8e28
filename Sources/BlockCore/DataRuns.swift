extension RawSpan {
  /// The runs of pages that are not all zeros, in order.
  public var dataRuns: [Range<Int>] {
    var runs: [Range<Int>] = []
    withUnsafeBytes { bytes in
      for start in stride(from: 0, to: bytes.count, by: Limits.pageSize) {
        let end = min(start + Limits.pageSize, bytes.count)
        if Self.isZero(bytes, start..<end) { continue }
        if let last = runs.last, last.upperBound == start {
          runs[runs.count - 1] = last.lowerBound..<end
        } else {
          runs.append(start..<end)
        }
      }
    }
    return runs
  }

  private static func isZero(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
    var position = range.lowerBound
    while range.upperBound - position >= 8 {
      if bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self) != 0 { return false }
      position += 8
    }
    return bytes[position..<range.upperBound].allSatisfy { $0 == 0 }
  }
}
