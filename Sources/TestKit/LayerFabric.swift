import BlockCore
import CISAL
import CLZ4
import CZstd
import OverlayBD

/// Makes files of the overlaybd formats for tests and benchmarks, field by field from the specification,
/// and with nothing of the reader's code, so that one checks the other.
public enum LayerFabric {
  /// A range of the disk and what it holds.
  public struct Extent: Sendable {
    /// The first logical sector.
    public let sector: UInt64
    /// How many sectors; at most 16383.
    public let sectorCount: UInt64
    /// The content; `nil` for a zeroed range.
    public let content: [UInt8]?

    /// A range with content of whole sectors.
    public init(sector: UInt64, content: [UInt8]) {
      precondition(content.count % 512 == 0)
      self.sector = sector
      sectorCount = UInt64(content.count / 512)
      self.content = content
    }

    /// A zeroed range.
    public init(sector: UInt64, zeroedCount: UInt64) {
      self.sector = sector
      sectorCount = zeroedCount
      content = nil
    }
  }

  /// The bytes of a committed layer (specification, §4.1 and §4.5).
  ///
  /// - Parameters:
  ///   - extents: Sorted by sector, without overlaps.
  ///   - virtualSize: In bytes; 0 to inherit.
  ///   - uuid: 36 characters.
  ///   - parentUUID: 36 characters.
  public static func committedLayer(
    _ extents: [Extent], virtualSize: UInt64,
    uuid: String = "00000000-0000-0000-0000-000000000000",
    parentUUID: String = "00000000-0000-0000-0000-000000000000"
  ) -> [UInt8] {
    var bytes = block(flags: 7, 0, 0, virtualSize, uuid, parentUUID)
    bytes.reserveCapacity(8192 + extents.reduce(0) { $0 + ($1.content?.count ?? 0) + 16 })
    var index: [UInt8] = []
    var indexCount: UInt64 = 0
    for extent in extents {
      let moffset = UInt64(bytes.count / 512)
      append(&index, extent.sector | extent.sectorCount << 50)
      append(&index, moffset | (extent.content == nil ? 1 << 55 : 0))
      indexCount += 1
      if let content = extent.content { bytes += content }
    }
    while indexCount % 256 != 0 {
      append(&index, (1 << 50) - 1 as UInt64)
      append(&index, 0 as UInt64)
      indexCount += 1
    }
    let indexOffset = UInt64(bytes.count)
    bytes += index
    bytes += block(flags: 6, indexOffset, indexCount, virtualSize, uuid, parentUUID)
    return bytes
  }

  /// The first and the last block of a sealed layer.
  public static func blocks(
    indexOffset: UInt64, indexCount: UInt64, virtualSize: UInt64
  ) -> (header: [UInt8], trailer: [UInt8]) {
    let null = "00000000-0000-0000-0000-000000000000"
    return (
      block(flags: 7, 0, 0, virtualSize, null, null),
      block(flags: 6, indexOffset, indexCount, virtualSize, null, null)
    )
  }

  /// An entry of an index; positions and lengths in sectors.
  public static func entry(offset: UInt64, length: UInt64, moffset: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    append(&bytes, offset | length << 50)
    append(&bytes, moffset)
    return bytes
  }

  /// The two files of a writable layer in append mode (specification, §4.2), from its writes in order.
  public static func writablePair(
    _ writes: [Extent], virtualSize: UInt64, tag: UInt64 = 0
  ) -> (data: [UInt8], index: [UInt8]) {
    let null = "00000000-0000-0000-0000-000000000000"
    var data = block(flags: 3, 0, 0, virtualSize, null, null)
    var index = block(flags: 1, 4096, 0, virtualSize, null, null)
    for write in writes {
      let moffset = UInt64(data.count / 512)
      append(&index, write.sector | write.sectorCount << 50)
      append(&index, moffset | (write.content == nil ? 1 << 55 : 0) | tag << 56)
      if let content = write.content { data += content }
    }
    return (data, index)
  }

  private static func block(
    flags: UInt32, _ indexOffset: UInt64, _ indexCount: UInt64, _ virtualSize: UInt64, _ uuid: String,
    _ parentUUID: String
  ) -> [UInt8] {
    var bytes: [UInt8] = [0x4C, 0x53, 0x4D, 0x54, 0x00, 0x01, 0x02, 0x00]
    bytes += [0x65, 0x7E, 0x63, 0xD2, 0x94, 0x44, 0x08, 0x4C, 0xA2, 0xD2, 0xC8, 0xEC, 0x4F, 0xCF, 0xAE, 0x8A]
    append(&bytes, 390 as UInt32)
    append(&bytes, flags)
    append(&bytes, indexOffset)
    append(&bytes, indexCount)
    append(&bytes, virtualSize)
    bytes += Array(uuid.utf8) + [0]
    bytes += Array(parentUUID.utf8) + [0]
    append(&bytes, 0 as UInt16)
    bytes += [1, 1]
    bytes += [UInt8](repeating: 0, count: 4096 - bytes.count)
    return bytes
  }

  static func append<Value: FixedWidthInteger>(_ bytes: inout [UInt8], _ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
  }

  /// The raw checksum register (specification, §1).
  public static func register(_ bytes: [UInt8], from seed: UInt32) -> UInt32 {
    var copy = bytes
    return copy.withUnsafeMutableBufferPointer { crc32_iscsi($0.baseAddress, CInt($0.count), seed) }
  }
}

extension LayerFabric {
  /// How a ZFile is to be made.
  public struct Compression: Sendable {
    /// LZ4 or ZSTD.
    public var codec: BlockCodec
    /// Bytes in a block.
    public var blockSize: Int
    /// Whether each block is followed by a checksum.
    public var hasChecksums: Bool
    /// Whether the header is written again at the end.
    public var overwritesHeader: Bool

    /// Makes a set of choices; the parameters are those of the properties.
    public init(
      _ codec: BlockCodec, blockSize: Int = 4096, hasChecksums: Bool = true, overwritesHeader: Bool = false
    ) {
      self.codec = codec
      self.blockSize = blockSize
      self.hasChecksums = hasChecksums
      self.overwritesHeader = overwritesHeader
    }
  }

  /// The bytes of a ZFile (specification, §6).
  public static func zfile(_ content: [UInt8], _ compression: Compression) -> [UInt8] {
    var blocks: [UInt8] = []
    var index: [UInt8] = []
    var count: UInt64 = 0
    for start in stride(from: 0, to: content.count, by: compression.blockSize) {
      let end = min(start + compression.blockSize, content.count)
      var stored = compress(content[start..<end], compression.codec)
      if compression.hasChecksums { append(&stored, register(stored, from: 100_007)) }
      append(&index, UInt32(stored.count))
      blocks += stored
      count += 1
    }
    let indexOffset = UInt64(512 + blocks.count)
    let checksum = register(index, from: 0)
    func block(flags: UInt64, isFinal: Bool) -> [UInt8] {
      var bytes: [UInt8] = [0x5A, 0x46, 0x69, 0x6C, 0x65, 0x00, 0x01, 0x00] + Array("tuji.yyf@Alibaba".utf8)
      append(&bytes, 96 as UInt32)
      append(&bytes, 0 as UInt32)
      append(&bytes, flags)
      append(&bytes, isFinal ? indexOffset : 0)
      append(&bytes, isFinal ? count : 0)
      append(&bytes, isFinal ? UInt64(content.count) : 0)
      append(&bytes, isFinal ? checksum : 0)
      append(&bytes, 0 as UInt32)
      append(&bytes, UInt32(compression.blockSize))
      bytes += [compression.codec.rawValue, 0, 0, 0]
      append(&bytes, 0 as UInt64)
      bytes += [compression.hasChecksums ? 1 : 0]
      bytes += [UInt8](repeating: 0, count: 512 - bytes.count)
      let digest = register(bytes, from: 0)
      withUnsafeBytes(of: digest.littleEndian) { bytes.replaceSubrange(28..<32, with: $0) }
      return bytes
    }
    let isOverwritten = compression.overwritesHeader
    return block(flags: isOverwritten ? 0x1B : 0x13, isFinal: isOverwritten) + blocks + index
      + block(flags: 0x16, isFinal: true)
  }

  private static func compress(_ content: ArraySlice<UInt8>, _ codec: BlockCodec) -> [UInt8] {
    content.withUnsafeBytes { source in
      switch codec {
      case .lz4:
        [UInt8](unsafeUninitializedCapacity: Int(LZ4_compressBound(CInt(source.count)))) { target, count in
          count = target.withMemoryRebound(to: CChar.self) { target in
            Int(
              LZ4_compress_default(
                source.baseAddress?.assumingMemoryBound(to: CChar.self), target.baseAddress,
                CInt(source.count), CInt(target.count)))
          }
        }
      case .zstd:
        [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(source.count)) { target, count in
          count = ZSTD_compress(target.baseAddress, target.count, source.baseAddress, source.count, 3)
        }
      }
    }
  }

  /// A layer in its tar, with the PAX header that upstream writes (specification, §7.2).
  public static func tar(_ payload: [UInt8]) -> [UInt8] {
    let text = " size=\(payload.count)\n"
    // The record's length counts its own digits.
    var length = text.utf8.count + 1
    while "\(length)".utf8.count + text.utf8.count != length { length += 1 }
    let record = Array("\(length)\(text)".utf8)
    var bytes = header(name: "overlaybd.pax", type: "x", size: record.count)
    bytes += record + [UInt8](repeating: 0, count: 512 - record.count)
    bytes += header(name: "overlaybd.commit", type: "0", size: 0)
    bytes += payload
    bytes += [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512 + 1024)
    return bytes
  }

  /// A tar's header of a type with its content, padded to whole blocks.
  public static func tarEntry(_ type: Character, _ content: [UInt8]) -> [UInt8] {
    let padding = [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    return header(name: "entry", type: type, size: content.count) + content + padding
  }

  /// Puts the checksum of a tar's header right.
  public static func putChecksum(into bytes: inout [UInt8]) {
    bytes.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
    let digits = String(bytes[..<512].reduce(0) { $0 + Int($1) }, radix: 8)
    bytes.replaceSubrange(148..<148 + digits.utf8.count, with: digits.utf8)
    bytes[148 + digits.utf8.count] = 0
  }

  private static func header(name: String, type: Character, size: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) {
      bytes.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
    }
    func octal(_ value: Int) -> String {
      let digits = String(value, radix: 8)
      return String(repeating: " ", count: 11 - digits.count) + digits + " "
    }
    put(name, at: 0)
    put(octal(size), at: 124)
    put("        ", at: 148)
    put(String(type), at: 156)
    put("ustar", at: 257)
    put("00", at: 263)
    let sum = bytes.reduce(0) { $0 + Int($1) }
    put(octal(sum).suffix(7) + "\0", at: 148)
    return bytes
  }
}
