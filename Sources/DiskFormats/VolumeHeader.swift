import BlockCore
import Hashing

/// The header by which a volume remembers which image was written to it: virtlet's, bit for bit.
///
/// 42 bytes at the beginning of sector 0, big-endian: magic, version, SHA-256 of the image
/// (docs/formats/header-volume.md). The rest of the sector is no part of it.
public struct VolumeHeader: Sendable, Hashable {
  /// Bytes in a header.
  public static let byteCount = 42
  /// What a header begins with.
  public static let magic: UInt64 = 0x263D_BE52_BA57_6702
  /// The version that we write, and the only one there has been.
  public static let currentVersion: UInt16 = 1

  /// The version.
  public var version: UInt16
  /// The digest of the image.
  public var image: Digest256

  /// Makes a header of the current version.
  public init(image: Digest256) {
    version = Self.currentVersion
    self.image = image
  }

  /// Reads a header; `nil` if the bytes do not begin with the magic.
  ///
  /// The version is not looked at.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count >= Self.byteCount, bytes.span.bytes.bigEndian(0) == Self.magic else { return nil }
    version = bytes.span.bytes.bigEndian(8)
    image = Digest256(Array(bytes[10..<Self.byteCount]))
  }

  /// The bytes on disk.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(bigEndian: Self.magic)
    bytes.append(bigEndian: version)
    return bytes + image.bytes
  }
}

/// What we note beside the header, in the part of sector 0 that it leaves free: whether the content is whole.
///
/// 88 bytes at byte 64, big-endian, with a checksum; a volume that virtlet has written has none. In the aligned
/// layout, which virtlet does not know, it stands alone, and once more at byte 8192.
public struct VolumeRecord: Sendable, Hashable {
  /// Where it stands on the device.
  public static let offset = 64
  /// Where it stands again in the aligned layout.
  public static let copyOffset = 8192
  /// Bytes in a record.
  public static let byteCount = 88
  private static let magic = Array("ASHLARV1".utf8)
  private static let checkedByteCount = 72

  /// How far the content has come.
  public enum State: UInt8, Sendable {
    /// It is being written, or that was interrupted.
    case incomplete = 1
    /// All of it is there.
    case complete = 2
  }

  /// Where the content begins.
  public enum Layout: UInt8, Sendable, CaseIterable {
    /// At sector 1, as virtlet has it.
    case sector = 1
    /// At 1 MiB, where every disk's blocks begin.
    case aligned = 2

    /// Where the content begins, in bytes.
    public var contentOffset: UInt64 {
      switch self {
      case .sector: 512
      case .aligned: 1 << 20
      }
    }
  }

  /// How far the content has come.
  public var state: State
  /// Where it begins.
  public var layout: Layout
  /// The image's size in bytes.
  public var imageByteCount: UInt64
  /// The digest of the image.
  public var image: Digest256

  /// Makes a record; the parameters are those of the properties.
  public init(state: State, layout: Layout, imageByteCount: UInt64, image: Digest256) {
    self.state = state
    self.layout = layout
    self.imageByteCount = imageByteCount
    self.image = image
  }

  /// Reads a record; `nil` if there is none, or one whose checksum or content is not right.
  ///
  /// - Throws: If digests cannot be computed.
  public static func read(_ bytes: [UInt8]) throws(BlockError) -> VolumeRecord? {
    guard bytes.count >= byteCount, Array(bytes[..<8]) == magic else { return nil }
    let span = bytes.span.bytes
    let digest = try SHA256.digest(of: span.extracting(0..<checkedByteCount))
    guard digest.bytes[..<16].elementsEqual(bytes[checkedByteCount..<byteCount]) else { return nil }
    guard span.bigEndian(8, as: UInt16.self) == 1, let state = State(rawValue: bytes[10]),
      let layout = Layout(rawValue: bytes[11]), span.bigEndian(16) == layout.contentOffset,
      span.bigEndian(24, as: UInt64.self) <= Limits.volumeBytes
    else { return nil }
    return VolumeRecord(
      state: state, layout: layout, imageByteCount: span.bigEndian(24),
      image: Digest256(Array(bytes[32..<64])))
  }

  /// The bytes on disk.
  ///
  /// - Throws: If digests cannot be computed.
  public func encoded() throws(BlockError) -> [UInt8] {
    var bytes = Self.magic
    bytes.append(bigEndian: UInt16(1))
    bytes += [state.rawValue, layout.rawValue]
    bytes.pad(to: 16)
    bytes.append(bigEndian: layout.contentOffset)
    bytes.append(bigEndian: imageByteCount)
    bytes += image.bytes
    bytes.pad(to: Self.checkedByteCount)
    let digest = try SHA256.digest(of: bytes.span.bytes)
    return bytes + digest.bytes[..<16]
  }
}
