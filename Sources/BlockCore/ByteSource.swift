/// Bytes that can be read at any place: a file, the payload of a tar, the content of a compressed file.
///
/// What a ``Volume`` is to sectors, this is to the formats beneath it; it has the same two phases. A
/// source's content does not change while it is open, except through a ``BlockFile`` of its own.
public protocol ByteSource: AnyObject, Sendable {
  /// The length in bytes.
  var byteCount: UInt64 { get }
  /// What errors call it: a path, or a path and the part of it.
  var name: String { get }

  /// Fills a span if that takes no waiting: the first phase.
  ///
  /// - Parameters:
  ///   - offset: Where to read, in bytes; with the span's length not beyond ``byteCount``.
  ///   - destination: What to fill, entirely. Its content is undefined after ``ServeOutcome/mustWait``.
  ///   - workspace: The calling thread's own.
  /// - Throws: `outOfRange` for a range beyond the end, and what the storage below throws.
  func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome

  /// Fills a span, waiting as long as it takes: the second phase. The parameters are those of the first.
  func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError)

  /// Tells the source that a range is about to be read, where it can use that.
  func willNeed(_ range: Range<UInt64>)

  /// The ranges that may hold anything but zeros, in order; all of it where nobody knows.
  func extentsWithData() async throws(BlockError) -> [Range<UInt64>]
}

extension ByteSource {
  /// Does nothing.
  public func willNeed(_ range: Range<UInt64>) {}

  /// All of it.
  public func extentsWithData() async throws(BlockError) -> [Range<UInt64>] {
    byteCount == 0 ? [] : [0..<byteCount]
  }

  /// Both phases: at once where possible, waiting where not.
  @inlinable
  public func readAnyhow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    if try readNow(at: offset, into: &destination, using: workspace) == .mustWait {
      try await read(at: offset, into: &destination, using: workspace)
    }
  }

  /// Reads a range into newly allocated memory: for headers and indexes, not for the request path.
  ///
  /// The caller has bounded `byteCount`: it is allocated before anything is read.
  public func bytes(
    at offset: UInt64, byteCount: Int, using workspace: Workspace
  ) async throws(BlockError) -> [UInt8] {
    try checkRange(at: offset, byteCount: byteCount)
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try await readAnyhow(at: offset, into: &raw, using: workspace)
    return bytes
  }

  /// Throws unless a range lies inside the source.
  @inlinable
  public func checkRange(at offset: UInt64, byteCount: Int) throws(BlockError) {
    if offset > self.byteCount || UInt64(byteCount) > self.byteCount &- offset {
      throw outOfRange(at: offset, byteCount: byteCount)
    }
  }

  @usableFromInline
  func outOfRange(at offset: UInt64, byteCount: Int) -> BlockError {
    BlockError(
      .outOfRange, step: "read", object: name,
      cause: "\(byteCount) bytes at byte \(offset) go beyond its end at byte \(self.byteCount)",
      remedy: "The file is cut short or its index is wrong; fetch or build it again.")
  }
}

/// A part of another source, as a source of its own: the payload of a tar, for one.
public final class ByteWindow: ByteSource {
  private let base: any ByteSource
  private let start: UInt64
  public let byteCount: UInt64
  public let name: String

  /// Makes a window.
  ///
  /// - Parameters:
  ///   - base: What it is a part of.
  ///   - range: The part, in bytes.
  ///   - name: What errors call it; the base's name if `nil`.
  /// - Throws: `outOfRange` if the range leaves the base.
  public init(of base: any ByteSource, _ range: Range<UInt64>, name: String? = nil) throws(BlockError) {
    guard range.upperBound <= base.byteCount else {
      throw base.outOfRange(
        at: range.lowerBound, byteCount: Int(clamping: range.upperBound - range.lowerBound))
    }
    self.base = base
    self.start = range.lowerBound
    self.byteCount = range.upperBound - range.lowerBound
    self.name = name ?? base.name
  }

  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try checkRange(at: offset, byteCount: destination.byteCount)
    return try base.readNow(at: start + offset, into: &destination, using: workspace)
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try checkRange(at: offset, byteCount: destination.byteCount)
    try await base.read(at: start + offset, into: &destination, using: workspace)
  }

  public func willNeed(_ range: Range<UInt64>) {
    base.willNeed(start + range.lowerBound..<start + range.upperBound)
  }

  public func extentsWithData() async throws(BlockError) -> [Range<UInt64>] {
    try await base.extentsWithData().compactMap { extent in
      let own = extent.clamped(to: start..<start + byteCount)
      return own.isEmpty ? nil : own.lowerBound - start..<own.upperBound - start
    }
  }
}
