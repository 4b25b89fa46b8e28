import BlockCore

/// The places in a gzip file where decoding can begin (specification, §8).
struct GzipIndex: Sendable {
  /// A place where decoding can begin.
  struct Checkpoint: Sendable {
    /// Its position in the content, in bytes.
    let contentOffset: UInt64
    /// The first compressed byte to feed, in bytes from the file's start.
    let fileOffset: UInt64
    /// Where the window's blob stands in the index file.
    let windowOffset: UInt64
    /// Stored bytes of the window's blob.
    let windowByteCount: UInt32
    /// How many bits of the byte before ``fileOffset`` belong to the next block: 0 to 7.
    let bits: UInt8
  }

  static let headerByteCount = 333
  static let magic: [UInt8] = Array("ddgzidx".utf8) + [0]
  static let windowByteCount = 32768
  private static let entryByteCount = 29

  /// Bytes of the content.
  let contentByteCount: UInt64
  /// Whether the windows are zlib streams rather than plain.
  let isCompressed: Bool
  /// In order of position; the first one at 0.
  let checkpoints: ContiguousArray<Checkpoint>
  /// The index file, for the windows.
  let file: any ByteSource

  /// The last checkpoint at or before a position in the content.
  func checkpoint(before offset: UInt64) -> Int {
    var low = 0
    var high = checkpoints.count
    while low + 1 < high {
      let middle = (low + high) / 2
      if checkpoints[middle].contentOffset <= offset { low = middle } else { high = middle }
    }
    return low
  }

  /// Opens an index file.
  ///
  /// - Parameters:
  ///   - file: The index.
  ///   - gzipByteCount: The length of the gzip file that it must belong to.
  ///   - workspace: The calling thread's own.
  /// - Throws: `corrupt`, `checksumMismatch` or `unsupported`, naming file, field and offset.
  static func open(
    _ file: any ByteSource, gzipByteCount: UInt64, using workspace: Workspace
  ) async throws(BlockError) -> GzipIndex {
    let header = try await readHeader(of: file, gzipByteCount: gzipByteCount, using: workspace)
    let stored = try await file.bytes(
      at: header.arrayOffset, byteCount: Int(header.arrayByteCount), using: workspace)
    let entries = try entryArray(stored, header, of: file)
    return GzipIndex(
      contentByteCount: header.contentByteCount, isCompressed: header.isCompressed,
      checkpoints: try checkpoints(entries, header, of: file, gzipByteCount: gzipByteCount), file: file)
  }

  /// How many entries an index file has: what opening it takes memory for.
  ///
  /// - Throws: As ``open(_:gzipByteCount:using:)``.
  static func entryCount(
    of file: any ByteSource, gzipByteCount: UInt64, using workspace: Workspace
  ) async throws(BlockError) -> UInt64 {
    try await readHeader(of: file, gzipByteCount: gzipByteCount, using: workspace).entryCount
  }

  private static func readHeader(
    of file: any ByteSource, gzipByteCount: UInt64, using workspace: Workspace
  ) async throws(BlockError) -> Header {
    guard file.byteCount >= UInt64(headerByteCount) else {
      throw .corrupt(tooShort: file.name, byteCount: file.byteCount, "a gzip index")
    }
    let bytes = try await file.bytes(at: 0, byteCount: headerByteCount, using: workspace)
    return try Header(bytes.span.bytes, of: file, gzipByteCount: gzipByteCount)
  }

  /// The fixed part of the file.
  private struct Header {
    let isCompressed: Bool
    let entryCount: UInt64
    let contentByteCount: UInt64
    let arrayOffset: UInt64
    let arrayByteCount: UInt64

    init(_ bytes: RawSpan, of file: any ByteSource, gzipByteCount: UInt64) throws(BlockError) {
      let name = file.name
      guard bytes.holds(magic, at: 0) else {
        throw .corrupt(file: name, field: "magic", at: 0, "is not that of a gzip index")
      }
      let computed = Checksum.register(over: bytes.extracting(0..<329), from: 0)
      guard computed == bytes.littleEndian(329, as: UInt32.self) else {
        throw BlockError(
          .checksumMismatch, step: "read", object: name,
          cause: "crc at byte 329 does not fit the header", remedy: "Build the gzip index again.")
      }
      func field<Value: FixedWidthInteger & BitwiseCopyable>(
        _ title: String, at offset: Int, _ type: Value.Type, isSound: (Value) -> Bool, _ rule: String
      ) throws(BlockError) -> Value {
        let value: Value = bytes.littleEndian(offset)
        if isSound(value) { return value }
        throw .corrupt(file: name, field: title, at: UInt64(offset), "is \(value), \(rule)")
      }
      _ = try field("version", at: 8, UInt8.self, isSound: { $0 == 1 }, "and only 1 is known")
      let algorithm = try field(
        "dict_compress_algo", at: 10, UInt8.self, isSound: { $0 <= 1 }, "not 0 (none) or 1 (zlib)")
      _ = try field(
        "window", at: 17, Int32.self, isSound: { $0 == windowByteCount }, "not \(windowByteCount)")
      _ = try field(
        "index_size", at: 21, Int32.self, isSound: { $0 == entryByteCount }, "not \(entryByteCount)")
      let count = try field(
        "index_num", at: 25, Int64.self, isSound: { (1...Int64(Limits.gzipIndexEntries)).contains($0) },
        "not 1 to \(Limits.gzipIndexEntries)")
      _ = try field(
        "gzip_file_size", at: 33, Int64.self, isSound: { $0 >= 0 && UInt64($0) == gzipByteCount },
        "and the gzip file has \(gzipByteCount) bytes")
      _ = try field(
        "index_file_size", at: 41, Int64.self, isSound: { $0 >= 0 && UInt64($0) == file.byteCount },
        "and the index file has \(file.byteCount) bytes")
      let content = try field(
        "uncompress_file_size", at: 49, Int64.self,
        isSound: { $0 >= 0 && UInt64($0) <= Limits.volumeBytes }, "which no file has")
      let start = try field(
        "index_start", at: 313, Int64.self,
        isSound: { $0 >= Int64(headerByteCount) && UInt64($0) <= file.byteCount }, "outside the file")
      let length = try field(
        "index_area_len", at: 321, Int64.self,
        isSound: { $0 >= 0 && $0 <= Int64(Limits.gzipIndexBytes) && UInt64(start + $0) == file.byteCount },
        "which does not end where the file does")
      // zlib makes nothing longer than that, and memory is taken by this number.
      let most = count * Int64(entryByteCount) + count / 8 + 1024
      guard length <= most else {
        throw .corrupt(
          file: name, field: "index_area_len", at: 321,
          "is \(length), and \(count) entries take \(most) at most")
      }
      isCompressed = algorithm == 1
      entryCount = UInt64(count)
      contentByteCount = UInt64(content)
      arrayOffset = UInt64(start)
      arrayByteCount = UInt64(length)
    }
  }

  /// The entry array, inflated if it is stored so.
  private static func entryArray(
    _ stored: [UInt8], _ header: Header, of file: any ByteSource
  ) throws(BlockError) -> [UInt8] {
    let byteCount = Int(header.entryCount) * entryByteCount
    if !header.isCompressed && stored.count == byteCount { return stored }
    if header.isCompressed, let entries = Inflate.stream(stored, byteCount: byteCount) { return entries }
    throw .corrupt(
      file: file.name, field: "index array", at: header.arrayOffset,
      "does not hold \(header.entryCount) entries of \(entryByteCount) bytes")
  }

  private static func checkpoints(
    _ entries: [UInt8], _ header: Header, of file: any ByteSource, gzipByteCount: UInt64
  ) throws(BlockError) -> ContiguousArray<Checkpoint> {
    var checkpoints = ContiguousArray<Checkpoint>()
    checkpoints.reserveCapacity(Int(header.entryCount))
    let span = entries.span.bytes
    for number in 0..<Int(header.entryCount) {
      let position = number * entryByteCount
      let checkpoint = Checkpoint(
        contentOffset: span.littleEndian(position), fileOffset: span.littleEndian(position + 8),
        windowOffset: span.littleEndian(position + 16), windowByteCount: span.littleEndian(position + 25),
        bits: span.littleEndian(position + 24))
      let last = checkpoints.last
      let isInOrder =
        last.map { $0.contentOffset < checkpoint.contentOffset && $0.fileOffset <= checkpoint.fileOffset }
        ?? (checkpoint.contentOffset == 0)
      let isInside =
        checkpoint.contentOffset <= header.contentByteCount
        && checkpoint.fileOffset >= 1 && checkpoint.fileOffset <= gzipByteCount && checkpoint.bits < 8
      let isWindowInside =
        checkpoint.windowOffset >= UInt64(headerByteCount) && checkpoint.windowOffset <= header.arrayOffset
        && UInt64(checkpoint.windowByteCount) <= header.arrayOffset - checkpoint.windowOffset
        && Int(checkpoint.windowByteCount) <= Inflate.storedWindowLimit
      guard isInOrder, isInside, isWindowInside else {
        throw .corrupt(
          file: file.name, field: "index entry \(number)", at: header.arrayOffset,
          "(content \(checkpoint.contentOffset), file \(checkpoint.fileOffset), window "
            + "\(checkpoint.windowOffset)+\(checkpoint.windowByteCount), bits \(checkpoint.bits)) is out of "
            + "order or points outside")
      }
      checkpoints.append(checkpoint)
    }
    return checkpoints
  }
}
