/// The size and the limits of a volume, as a kernel would ask for them.
public struct VolumeGeometry: Sendable, Hashable {
  /// Bytes in a sector, the unit of Linux block devices and of every format here.
  public static let sectorSize: UInt64 = 512

  /// The size of the volume in bytes: a multiple of ``logicalBlockSize``, and not zero.
  public let byteCount: UInt64
  /// The smallest unit of a request, in bytes: 512 or 4096.
  public let logicalBlockSize: Int
  /// Whether writes are refused.
  public let isReadOnly: Bool
  /// Whether discarded ranges give space back.
  public let canDiscard: Bool

  /// Makes a geometry; the parameters are those of the properties.
  ///
  /// - Precondition: `byteCount` is a multiple of `logicalBlockSize`.
  public init(
    byteCount: UInt64, logicalBlockSize: Int = 512, isReadOnly: Bool, canDiscard: Bool = false
  ) {
    precondition(logicalBlockSize == 512 || logicalBlockSize == 4096, "block size \(logicalBlockSize)")
    precondition(byteCount % UInt64(logicalBlockSize) == 0, "size \(byteCount) is not whole blocks")
    self.byteCount = byteCount
    self.logicalBlockSize = logicalBlockSize
    self.isReadOnly = isReadOnly
    self.canDiscard = canDiscard
  }

  /// The size in sectors of 512 bytes.
  public var sectorCount: UInt64 { byteCount / Self.sectorSize }

  /// The same geometry, refusing writes.
  public var readOnly: VolumeGeometry {
    VolumeGeometry(byteCount: byteCount, logicalBlockSize: logicalBlockSize, isReadOnly: true)
  }
}
