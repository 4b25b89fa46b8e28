import BlockCore

/// The block at either end of an LSMT file, 4096 bytes (specification, §2).
public struct LSMTHeader: Sendable, Hashable {
  /// Bytes of the block.
  static let byteCount = 4096
  /// The first sector that may hold data.
  static let firstDataSector = UInt64(byteCount) / VolumeGeometry.sectorSize

  static let magic0: [UInt8] = Array("LSMT".utf8) + [0x00, 0x01, 0x02, 0x00]
  static let magic1: [UInt8] = [
    0x65, 0x7E, 0x63, 0xD2, 0x94, 0x44, 0x08, 0x4C, 0xA2, 0xD2, 0xC8, 0xEC, 0x4F, 0xCF, 0xAE, 0x8A,
  ]

  /// The flags that may be interpreted; historic files carry garbage in the other bits.
  struct Flags: OptionSet, Sendable, Hashable {
    let rawValue: UInt32
    static let header = Flags(rawValue: 1 << 0)
    static let data = Flags(rawValue: 1 << 1)
    static let sealed = Flags(rawValue: 1 << 2)
    static let sparse = Flags(rawValue: 1 << 4)
  }

  /// What a block has to be to fit its place.
  enum Role: String {
    case layerHeader = "header"
    case layerTrailer = "trailer"
    case writableDataHeader = "data file's header"
    case writableIndexHeader = "index file's header"

    /// The flags that have to be set, and those that have to be clear.
    var flags: (set: Flags, clear: Flags) {
      switch self {
      // A sealed writable file keeps the header of a writable one, so "sealed" says nothing here.
      case .layerHeader: ([.header, .data], [])
      case .layerTrailer: ([.data, .sealed], [.header])
      case .writableDataHeader: ([.header, .data], [.sealed])
      case .writableIndexHeader: ([.header], [.data, .sealed])
      }
    }
  }

  let flags: Flags
  /// Where the index stands in the file, in bytes.
  public let indexOffset: UInt64
  /// How many entries the index has, padding included.
  public let indexCount: UInt64
  /// The size of the disk in bytes; 0 to inherit it from the layer beneath.
  public let virtualSize: UInt64
  /// The layer's UUID, as text.
  public let uuid: String
  /// The UUID of the layer beneath, as text.
  public let parentUUID: String
  /// The commit message.
  public let userTag: String
  /// The format's version; not checked, as upstream does not.
  public let version: UInt8
  /// The format's sub-version; not checked either.
  public let subVersion: UInt8

  /// Reads a block.
  ///
  /// - Parameters:
  ///   - bytes: 4096 bytes.
  ///   - role: What the block has to be.
  ///   - position: Where it stands in the file, for errors.
  ///   - file: The file's name, for errors.
  /// - Throws: `corrupt` if it is not such a block.
  init(_ bytes: RawSpan, as role: Role, at position: UInt64, of file: String) throws(BlockError) {
    precondition(bytes.byteCount == Self.byteCount, "a header of \(bytes.byteCount) bytes")
    guard bytes.holds(Self.magic0, at: 0) else {
      throw .corrupt(
        file: file, field: "\(role.rawValue) magic0", at: position, "is not that of an LSMT file")
    }
    guard bytes.holds(Self.magic1, at: 8) else {
      throw .corrupt(
        file: file, field: "\(role.rawValue) magic1", at: position + 8, "is not that of an LSMT file")
    }
    flags = Flags(rawValue: bytes.littleEndian(28))
    guard flags.isSuperset(of: role.flags.set), flags.isDisjoint(with: role.flags.clear) else {
      throw .corrupt(
        file: file, field: "\(role.rawValue) flags", at: position + 28,
        "are 0x\(String(flags.rawValue, radix: 16)), which does not fit a \(role.rawValue)")
    }
    indexOffset = bytes.littleEndian(32)
    indexCount = bytes.littleEndian(40)
    virtualSize = bytes.littleEndian(48)
    uuid = bytes.text(56..<93)
    parentUUID = bytes.text(93..<130)
    version = bytes.littleEndian(132)
    subVersion = bytes.littleEndian(133)
    userTag = bytes.text(134..<390)
  }

  /// Whether the block at a source's start looks like one of ours.
  static func isPresent(in bytes: RawSpan) -> Bool {
    bytes.byteCount >= magic0.count && bytes.holds(magic0, at: 0)
  }
}
