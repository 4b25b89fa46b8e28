import BlockCore
import Hashing

/// What stands in front of a sandbox's changes and binds them to their base.
///
/// One block of 4096 bytes at the beginning of the store's file, little-endian, with a checksum at its end; it
/// is written once, before anything else is (docs/device-mapper.md).
public struct SandboxStoreHeader: Sendable, Hashable {
  /// Bytes of the header.
  public static let byteCount = 4096
  private static let magic = Array("ASHLRSBX".utf8)
  private static let checkedByteCount = byteCount - Digest256.byteCount

  /// What the changes are kept in.
  public enum Kind: UInt32, Sendable {
    /// The exception store of dm-snapshot.
    case snapshot = 1
    /// A pool of dm-thin: first its metadata, then its data.
    case thin = 2
  }

  /// What the changes are kept in.
  public var kind: Kind
  /// Tells this store from every other: 16 random bytes.
  public var id: [UInt8]
  /// The digest of the base's content.
  public var base: Digest256
  /// The size of the base in bytes.
  public var baseByteCount: UInt64
  /// The size of the disk in bytes.
  public var byteCount: UInt64
  /// Bytes that are copied at a time.
  public var chunkByteCount: UInt32
  /// Bytes of a thin pool's metadata; 0 for a snapshot.
  public var metadataByteCount: UInt64
  /// The most that changes may take, in bytes; 0 for no such limit.
  public var quota: UInt64

  /// Where the store of the kernel begins in the file.
  public static let storeOffset: UInt64 = 1 << 20

  /// Makes a header; the parameters are those of the properties.
  public init(
    kind: Kind, id: [UInt8], base: Digest256, baseByteCount: UInt64, byteCount: UInt64,
    chunkByteCount: UInt32, metadataByteCount: UInt64 = 0, quota: UInt64 = 0
  ) {
    precondition(id.count == 16, "no store's ID")
    self.kind = kind
    self.id = id
    self.base = base
    self.baseByteCount = baseByteCount
    self.byteCount = byteCount
    self.chunkByteCount = chunkByteCount
    self.metadataByteCount = metadataByteCount
    self.quota = quota
  }

  /// Reads a header.
  ///
  /// - Parameters:
  ///   - bytes: The file's first 4096 bytes.
  ///   - file: The file's name, for errors.
  /// - Throws: `corrupt` with the field at fault, `unsupported` for a newer version.
  public init(_ bytes: [UInt8], file: String) throws(BlockError) {
    func corrupt(_ field: String, _ offset: UInt64, _ problem: String) -> BlockError {
      .corrupt(file: file, field: field, at: offset, problem)
    }
    guard bytes.count >= Self.byteCount, Array(bytes[..<8]) == Self.magic else {
      throw corrupt("the magic", 0, "is not that of a sandbox's store")
    }
    let span = bytes.span.bytes
    let digest = try SHA256.digest(of: span.extracting(0..<Self.checkedByteCount))
    guard digest.bytes.elementsEqual(bytes[Self.checkedByteCount..<Self.byteCount]) else {
      throw corrupt("the header's checksum", UInt64(Self.checkedByteCount), "does not fit the header")
    }
    let version = span.littleEndian(8, as: UInt32.self)
    guard version == 1 else {
      throw .unsupported(file: file, field: "the version", at: 8, "is \(version), and 1 is known")
    }
    guard let kind = Kind(rawValue: span.littleEndian(12)) else {
      throw .unsupported(file: file, field: "the kind", at: 12, "is not known")
    }
    self.kind = kind
    id = Array(bytes[16..<32])
    base = Digest256(Array(bytes[32..<64]))
    baseByteCount = span.littleEndian(64)
    byteCount = span.littleEndian(72)
    chunkByteCount = span.littleEndian(80)
    metadataByteCount = span.littleEndian(88)
    quota = span.littleEndian(96)
    let sector = VolumeGeometry.sectorSize
    guard baseByteCount > 0, baseByteCount <= byteCount, byteCount <= Limits.sandboxBytes,
      baseByteCount % sector == 0, byteCount % sector == 0
    else { throw corrupt("the sizes", 64, "cannot be right") }
    let sizes: Set<UInt32> = [4096, 64 << 10]
    guard sizes.contains(chunkByteCount), metadataByteCount % 4096 == 0,
      metadataByteCount <= Limits.thinMetadataBytes, (kind == .thin) == (metadataByteCount > 0),
      quota <= Limits.sandboxBytes
    else { throw corrupt("the chunk size", 80, "cannot be right") }
  }

  /// The bytes on disk.
  ///
  /// - Throws: If digests cannot be computed.
  public func encoded() throws(BlockError) -> [UInt8] {
    var bytes = Self.magic
    bytes.append(littleEndian: UInt32(1))
    bytes.append(littleEndian: kind.rawValue)
    bytes += id + base.bytes
    bytes.append(littleEndian: baseByteCount)
    bytes.append(littleEndian: byteCount)
    bytes.append(littleEndian: chunkByteCount)
    bytes.pad(to: 88)
    bytes.append(littleEndian: metadataByteCount)
    bytes.append(littleEndian: quota)
    bytes.pad(to: Self.checkedByteCount)
    let digest = try SHA256.digest(of: bytes.span.bytes)
    return bytes + digest.bytes
  }
}
