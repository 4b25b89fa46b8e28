import BlockCore
import CZstd
import Synchronization

/// The content of a ZFile: a file compressed in blocks, which can be read at any place (specification, §6).
public final class ZFile: ByteSource {
  let source: any ByteSource
  let table: JumpTable
  let blockShift: UInt64
  /// What tells this file's decoded blocks from another's, in the working state of a thread.
  let serial: UInt64
  /// The fields that the file was opened by: the header's, or the trailer's.
  let header: ZFileHeader

  /// How its blocks are compressed.
  public let codec: BlockCodec
  /// Whether each block is followed by a checksum.
  public var hasBlockChecksums: Bool { header.hasBlockChecksums }
  /// Bytes of content in a block: a power of two from 4 to 64 KiB.
  public var blockSize: Int { 1 << Int(blockShift) }
  /// How many blocks there are.
  public var blockCount: Int { table.count }
  /// Whether the header holds the final fields, so that the trailer is not needed.
  public var isHeaderOverwritten: Bool { header.flags.contains(.overwritten) }
  /// Bytes of the compressed blocks with their checksums.
  public var compressedByteCount: UInt64 { table.end - UInt64(ZFileHeader.byteCount) }
  /// The length of the content in bytes.
  public var byteCount: UInt64 { header.originalSize }
  public let name: String

  private static let serials = Atomic<UInt64>(0)

  private init(_ source: any ByteSource, _ header: ZFileHeader, _ codec: BlockCodec, _ table: JumpTable) {
    self.source = source
    self.header = header
    self.codec = codec
    self.table = table
    name = "\(source.name) (decompressed)"
    blockShift = UInt64(header.blockSize.trailingZeroBitCount)
    serial = Self.serials.wrappingAdd(1, ordering: .relaxed).newValue
  }

  /// Opens a source as a ZFile if it is one.
  ///
  /// - Parameters:
  ///   - source: The file, out of its tar.
  ///   - workspace: The calling thread's own.
  /// - Returns: The content, or `nil` if the source does not begin as a ZFile does.
  /// - Throws: `corrupt`, `checksumMismatch` or `unsupported`, naming file, field and offset.
  public static func openIfPresent(
    _ source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> ZFile? {
    guard let (header, codec) = try await readHeader(of: source, using: workspace) else { return nil }
    let table = try await readTable(of: source, header, codec, using: workspace)
    return ZFile(source, header, codec, table)
  }

  /// How many blocks a source has if it is a ZFile, and 0 if not: what opening it takes memory for.
  ///
  /// - Throws: As ``openIfPresent(_:using:)``.
  public static func blockCount(
    of source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> UInt64 {
    try await readHeader(of: source, using: workspace)?.header.indexCount ?? 0
  }

  /// The header that counts, checked; `nil` if there is none.
  private static func readHeader(
    of source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> (header: ZFileHeader, codec: BlockCodec)? {
    guard source.byteCount >= UInt64(ZFileHeader.byteCount) else { return nil }
    let bytes = try await source.bytes(at: 0, byteCount: ZFileHeader.byteCount, using: workspace)
    guard ZFileHeader.isPresent(in: bytes.span.bytes) else { return nil }
    var header = try ZFileHeader(bytes.span.bytes, as: "header", at: 0, of: source.name)
    var blocksEnd = source.byteCount
    if !header.flags.contains(.overwritten) {
      header = try await readTrailer(of: source, using: workspace)
      blocksEnd = header.position
    }
    return (header, try check(header, of: source.name, blocksEnd: blocksEnd))
  }

  private static func readTrailer(
    of source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> ZFileHeader {
    guard source.byteCount >= 2 * UInt64(ZFileHeader.byteCount) else {
      throw .corrupt(
        tooShort: source.name, byteCount: source.byteCount, "a header and a trailer")
    }
    let position = source.byteCount - UInt64(ZFileHeader.byteCount)
    let bytes = try await source.bytes(at: position, byteCount: ZFileHeader.byteCount, using: workspace)
    let trailer = try ZFileHeader(bytes.span.bytes, as: "trailer", at: position, of: source.name)
    guard trailer.flags.isSuperset(of: [.data, .sealed]), trailer.flags.isDisjoint(with: .header) else {
      throw .corrupt(
        file: source.name, field: "trailer flags", at: position + 32,
        "are 0x\(String(trailer.flags.rawValue, radix: 16)), which does not fit a trailer")
    }
    return trailer
  }

  /// Checks every field before it is used; `blocksEnd` is where blocks and index have to end.
  private static func check(
    _ header: ZFileHeader, of file: String, blocksEnd: UInt64
  ) throws(BlockError) -> BlockCodec {
    let position = header.position
    guard let codec = BlockCodec(rawValue: header.algorithm) else {
      throw .unsupported(
        file: file, field: "algorithm", at: position + 76, "is \(header.algorithm), not 1 (LZ4) or 2 (ZSTD)")
    }
    guard header.blockSize.nonzeroBitCount == 1, (4 << 10...64 << 10).contains(header.blockSize) else {
      throw .corrupt(
        file: file, field: "block_size", at: position + 72,
        "is \(header.blockSize), not a power of two from 4 to 64 KiB")
    }
    guard !header.usesDictionary, header.dictionarySize == 0 else {
      throw .unsupported(
        file: file, field: "dict_size", at: position + 84,
        "is \(header.dictionarySize), and no tool has ever written a dictionary")
    }
    let blockSize = UInt64(header.blockSize)
    let wanted = header.originalSize / blockSize + (header.originalSize % blockSize == 0 ? 0 : 1)
    guard header.indexCount == wanted else {
      throw .corrupt(
        file: file, field: "index_size", at: position + 48,
        "is \(header.indexCount) blocks, and original_file_size \(header.originalSize) takes \(wanted)")
    }
    guard header.indexCount <= Limits.blocksInZFile else {
      throw .unsupported(
        file: file, field: "index_size", at: position + 48,
        "is \(header.indexCount) blocks, and \(Limits.blocksInZFile) are allowed")
    }
    guard header.indexOffset >= UInt64(ZFileHeader.byteCount), header.indexOffset <= blocksEnd,
      header.indexCount * 4 <= blocksEnd - header.indexOffset
    else {
      throw .corrupt(
        file: file, field: "index_offset", at: position + 40,
        "is \(header.indexOffset), and an index of \(header.indexCount) blocks does not fit from there to "
          + "byte \(blocksEnd)")
    }
    return codec
  }

  private static func readTable(
    of source: any ByteSource, _ header: ZFileHeader, _ codec: BlockCodec, using workspace: Workspace
  ) async throws(BlockError) -> JumpTable {
    let count = Int(header.indexCount)
    let overhead = header.hasBlockChecksums ? 4 : 0
    let largest = UInt32(codec.bound(Int(header.blockSize)) + overhead)
    var table = JumpTable(start: UInt64(ZFileHeader.byteCount), capacity: count)
    var register: UInt32 = 0
    var number = 0
    while number < count {
      let here = min(Limits.indexReadBytes / 4, count - number)
      let start = header.indexOffset + UInt64(number) * 4
      let bytes = try await source.bytes(at: start, byteCount: here * 4, using: workspace)
      let span = bytes.span.bytes
      register = Checksum.register(over: span, from: register)
      for entry in 0..<here {
        let length: UInt32 = span.littleEndian(entry * 4)
        guard length > UInt32(overhead), length <= largest else {
          throw .corrupt(
            file: source.name, field: "index entry \(number + entry)", at: start + UInt64(entry) * 4,
            "is \(length) bytes, and a block takes \(overhead + 1) to \(largest)")
        }
        table.append(length)
      }
      number += here
    }
    guard !header.flags.contains(.hasDigests) || register == header.indexChecksum else {
      throw BlockError(
        .checksumMismatch, step: "read", object: source.name,
        cause: "index_crc at byte \(header.position + 64) is 0x\(String(header.indexChecksum, radix: 16)), "
          + "and the index at byte \(header.indexOffset) gives 0x\(String(register, radix: 16))",
        remedy: "The file is damaged; fetch or build it again.")
    }
    guard table.end <= header.indexOffset else {
      throw .corrupt(
        file: source.name, field: "index", at: header.indexOffset,
        "adds up to blocks that end at byte \(table.end), behind its own beginning")
    }
    return table
  }
}
