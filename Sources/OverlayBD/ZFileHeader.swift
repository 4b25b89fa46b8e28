import BlockCore

/// The block at either end of a ZFile, 512 bytes (specification, §6.1).
struct ZFileHeader: Sendable, Hashable {
  static let byteCount = 512
  static let magic0: [UInt8] = Array("ZFile".utf8) + [0x00, 0x01, 0x00]
  static let magic1: [UInt8] = Array("tuji.yyf@Alibaba".utf8)
  private static let digestOffset = 28

  /// The flags that may be interpreted; historic files carry garbage in the other bits.
  struct Flags: OptionSet, Sendable, Hashable {
    let rawValue: UInt64
    static let header = Flags(rawValue: 1 << 0)
    static let data = Flags(rawValue: 1 << 1)
    static let sealed = Flags(rawValue: 1 << 2)
    /// The header's own fields are final: it was written again at the end.
    static let overwritten = Flags(rawValue: 1 << 3)
    /// The digests and the index's checksum are there.
    static let hasDigests = Flags(rawValue: 1 << 4)
  }

  let flags: Flags
  /// Where the block stands in the file, in bytes.
  let position: UInt64
  let indexOffset: UInt64
  let indexCount: UInt64
  let originalSize: UInt64
  let indexChecksum: UInt32
  let blockSize: UInt32
  let algorithm: UInt8
  let usesDictionary: Bool
  let dictionarySize: UInt32
  let hasBlockChecksums: Bool

  /// Whether the first bytes of a source are a ZFile's header.
  static func isPresent(in bytes: RawSpan) -> Bool {
    guard bytes.holds(magic0, at: 0), bytes.holds(magic1, at: magic0.count) else { return false }
    return Flags(rawValue: bytes.littleEndian(32)).contains(.header)
  }

  /// Reads a block.
  ///
  /// - Parameters:
  ///   - bytes: 512 bytes.
  ///   - role: `header` or `trailer`, for errors.
  ///   - position: Where it stands in the file.
  ///   - file: The file's name, for errors.
  /// - Throws: `corrupt` or `checksumMismatch`.
  init(_ bytes: RawSpan, as role: String, at position: UInt64, of file: String) throws(BlockError) {
    precondition(bytes.byteCount == Self.byteCount, "a header of \(bytes.byteCount) bytes")
    guard bytes.holds(Self.magic0, at: 0), bytes.holds(Self.magic1, at: 8) else {
      throw .corrupt(file: file, field: "\(role) magic", at: position, "is not that of a ZFile")
    }
    flags = Flags(rawValue: bytes.littleEndian(32))
    self.position = position
    indexOffset = bytes.littleEndian(40)
    indexCount = bytes.littleEndian(48)
    originalSize = bytes.littleEndian(56)
    indexChecksum = bytes.littleEndian(64)
    blockSize = bytes.littleEndian(72)
    algorithm = bytes.littleEndian(76)
    usesDictionary = bytes.littleEndian(78, as: UInt8.self) != 0
    dictionarySize = bytes.littleEndian(84)
    hasBlockChecksums = bytes.littleEndian(88, as: UInt8.self) != 0
    if flags.contains(.hasDigests) {
      let stored: UInt32 = bytes.littleEndian(Self.digestOffset)
      let computed = Self.digest(of: bytes)
      guard stored == computed else {
        throw BlockError(
          .checksumMismatch, step: "read", object: file,
          cause: "\(role) digest at byte \(position + UInt64(Self.digestOffset)) is "
            + "0x\(String(stored, radix: 16)), and the \(role)'s bytes give 0x\(String(computed, radix: 16))",
          remedy: "The file is damaged; fetch or build it again.")
      }
    }
  }

  /// The checksum over the block with the digest's own field taken as zero.
  private static func digest(of bytes: RawSpan) -> UInt32 {
    let zeros: [UInt8] = [0, 0, 0, 0]
    var register = Checksum.register(over: bytes.extracting(0..<digestOffset), from: 0)
    register = Checksum.register(over: zeros.span.bytes, from: register)
    return Checksum.register(over: bytes.extracting(digestOffset + 4..<byteCount), from: register)
  }
}
