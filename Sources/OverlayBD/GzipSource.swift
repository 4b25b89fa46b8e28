import BlockCore
import Synchronization

/// The content of a gzip file, which can be read at any place with the help of an index.
///
/// Decoding from a checkpoint takes milliseconds, so it counts as waiting: the first phase serves only
/// what was decoded lately.
public final class GzipSource: ByteSource {
  /// Decoded content: one page of ``pageByteCount``, the last one shorter.
  final class Page: Sendable {
    let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }
  }

  static let pageByteCount: UInt64 = 128 << 10

  let gzip: any ByteSource
  let index: GzipIndex
  private let cache: Mutex<PageCache>
  private let decoder: GzipDecoder
  public var byteCount: UInt64 { index.contentByteCount }
  public let name: String

  /// Opens a gzip file with its index.
  ///
  /// - Parameters:
  ///   - gzip: The gzip file.
  ///   - indexFile: The index that belongs to it.
  ///   - cacheByteCount: How many bytes of its content are kept, once they are decoded.
  ///   - workspace: The calling thread's own.
  /// - Throws: `corrupt`, `checksumMismatch` or `unsupported`, naming file, field and offset.
  public static func open(
    _ gzip: any ByteSource, indexFile: any ByteSource, cacheByteCount: Int = Limits.gzipCacheBytes,
    using workspace: Workspace
  ) async throws(BlockError) -> GzipSource {
    GzipSource(
      gzip, try await GzipIndex.open(indexFile, gzipByteCount: gzip.byteCount, using: workspace),
      cacheByteCount)
  }

  /// How many entries a gzip file's index has: what opening it takes memory for.
  ///
  /// - Throws: As ``open(_:indexFile:cacheByteCount:using:)``.
  public static func entryCount(
    ofIndex indexFile: any ByteSource, of gzip: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> UInt64 {
    try await GzipIndex.entryCount(of: indexFile, gzipByteCount: gzip.byteCount, using: workspace)
  }

  private init(_ gzip: any ByteSource, _ index: GzipIndex, _ cacheByteCount: Int) {
    cache = Mutex(PageCache(capacity: cacheByteCount / Int(Self.pageByteCount)))
    self.gzip = gzip
    self.index = index
    name = "\(gzip.name) (decompressed)"
    decoder = GzipDecoder(gzip, index)
  }

  /// How many places there are where decoding can begin.
  public var checkpointCount: Int { index.checkpoints.count }

  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    var filled = 0
    while filled < count {
      let position = offset + UInt64(filled)
      guard let page = cache.withLock({ $0.page(position / Self.pageByteCount) }) else { return .mustWait }
      filled += Self.copy(page, position, into: &destination, at: filled)
    }
    return .done
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    var filled = 0
    while filled < count {
      let position = offset + UInt64(filled)
      let page = try await page(position / Self.pageByteCount)
      filled += Self.copy(page, position, into: &destination, at: filled)
    }
  }

  private static func copy(
    _ page: Page, _ position: UInt64, into destination: inout MutableRawSpan, at filled: Int
  ) -> Int {
    let skipped = Int(position % pageByteCount)
    let count = min(page.bytes.count - skipped, destination.byteCount - filled)
    destination.withUnsafeMutableBytes { bytes in
      page.bytes.withUnsafeBytes { content in
        UnsafeMutableRawBufferPointer(rebasing: bytes[filled..<filled + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: content[skipped..<skipped + count]))
      }
    }
    return count
  }

  private func page(_ number: UInt64) async throws(BlockError) -> Page {
    if let page = cached(number) { return page }
    let pages = try await decoder.decode(number, unless: cached)
    cache.withLock { cache in
      for (number, page) in pages { cache.insert(page, number) }
    }
    guard let page = pages.first(where: { $0.0 == number })?.1 else {
      throw BlockError(
        .corrupt, step: "decode", object: name,
        cause:
          "the content at byte \(number * Self.pageByteCount) did not come out of the checkpoint before it",
        remedy: "Build the gzip index again.")
    }
    return page
  }

  private func cached(_ number: UInt64) -> Page? {
    cache.withLock { $0.page(number) }
  }
}

/// Pages by number; the one that was not used for longest goes when there are too many.
private struct PageCache {
  private var pages: [UInt64: (page: GzipSource.Page, lastUse: UInt64)] = [:]
  private var uses: UInt64 = 0
  private let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  mutating func page(_ number: UInt64) -> GzipSource.Page? {
    guard let index = pages.index(forKey: number) else { return nil }
    uses += 1
    pages.values[index].lastUse = uses
    return pages.values[index].page
  }

  mutating func insert(_ page: GzipSource.Page, _ number: UInt64) {
    uses += 1
    pages[number] = (page, uses)
    if pages.count > capacity, let oldest = pages.min(by: { $0.value.lastUse < $1.value.lastUse }) {
      pages.removeValue(forKey: oldest.key)
    }
  }
}
