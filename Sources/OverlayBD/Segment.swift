import BlockCore

/// A run of logical sectors and where their content is: one entry of an index, in memory.
///
/// Two words, as on disk (specification, §3), but with room for more sources: the stored tag has 8 bits,
/// and a stack of 255 layers may have a metadata file and a tar for each of them.
@frozen
public struct Segment: Sendable, Hashable {
  /// offset: bits 0…49, length: bits 50…63.
  @usableFromInline let extent: UInt64
  /// moffset: bits 0…46, zeroed: bit 47, source: bits 48…63.
  @usableFromInline let place: UInt64

  /// The largest logical sector number: 50 bits.
  ///
  /// It also marks an entry that pads an index.
  public static let maximumOffset: UInt64 = (1 << 50) - 1
  /// The most sectors of one segment: 14 bits.
  public static let maximumLength: UInt64 = (1 << 14) - 1
  /// The largest sector number inside a file: 64 PiB.
  public static let maximumMoffset: UInt64 = (1 << 47) - 1

  @usableFromInline static let zeroedBit: UInt64 = 1 << 47

  /// Makes a segment; all positions and lengths are in sectors of 512 bytes.
  ///
  /// - Parameters:
  ///   - offset: The first logical sector.
  ///   - length: How many sectors.
  ///   - moffset: The first sector in the file that holds the data.
  ///   - isZeroed: Whether the range reads as zeros and has no data.
  ///   - source: Which file holds the data.
  /// - Precondition: Each value fits its field.
  @inlinable
  public init(offset: UInt64, length: UInt64, moffset: UInt64, isZeroed: Bool = false, source: UInt16 = 0) {
    precondition(
      offset <= Self.maximumOffset && length <= Self.maximumLength && moffset <= Self.maximumMoffset,
      "a segment's field overflows")
    extent = offset | length << 50
    place = moffset | (isZeroed ? Self.zeroedBit : 0) | UInt64(source) << 48
  }

  /// The first logical sector.
  @inlinable public var offset: UInt64 { extent & Self.maximumOffset }
  /// How many sectors.
  @inlinable public var length: UInt64 { extent >> 50 }
  /// The first logical sector behind it.
  @inlinable public var end: UInt64 { offset &+ length }
  /// The first sector in the file that holds the data.
  @inlinable public var moffset: UInt64 { place & Self.maximumMoffset }
  /// Whether the range reads as zeros.
  @inlinable public var isZeroed: Bool { place & Self.zeroedBit != 0 }
  /// Which file holds the data.
  @inlinable public var source: UInt16 { UInt16(truncatingIfNeeded: place >> 48) }

  /// The part of the segment from a sector on.
  ///
  /// - Precondition: `offset <= start < end`.
  @inlinable
  public func suffix(from start: UInt64) -> Segment {
    let cut = start - offset
    return Segment(
      offset: start, length: length - cut, moffset: isZeroed ? moffset : moffset + cut,
      isZeroed: isZeroed, source: source)
  }

  /// The part of the segment before a sector.
  ///
  /// - Precondition: `offset < limit <= end`.
  @inlinable
  public func prefix(upTo limit: UInt64) -> Segment {
    Segment(offset: offset, length: limit - offset, moffset: moffset, isZeroed: isZeroed, source: source)
  }

  /// The same segment with its data in another source.
  @inlinable
  public func moved(to source: UInt16) -> Segment {
    Segment(offset: offset, length: length, moffset: moffset, isZeroed: isZeroed, source: source)
  }
}

/// One entry of an index as it stands in a file: 16 bytes (specification, §3).
struct StoredSegment: Sendable {
  /// Bytes of an entry.
  static let byteCount = 16

  let offset: UInt64
  let length: UInt64
  let moffset: UInt64
  let isZeroed: Bool
  let tag: UInt8

  /// Reads an entry.
  ///
  /// - Precondition: 16 bytes stand at `position`.
  init(_ bytes: RawSpan, at position: Int) {
    let extent: UInt64 = bytes.littleEndian(position)
    let place: UInt64 = bytes.littleEndian(position + 8)
    offset = extent & ((1 << 50) - 1)
    length = extent >> 50
    moffset = place & ((1 << 55) - 1)
    isZeroed = place & (1 << 55) != 0
    tag = UInt8(truncatingIfNeeded: place >> 56)
  }

  /// Whether it only fills up an index or a group commit.
  var isPadding: Bool { offset == Segment.maximumOffset }

  /// The first sector in the file behind its data; cannot wrap, both terms being small.
  var mend: UInt64 { isZeroed ? moffset : moffset + length }
}
