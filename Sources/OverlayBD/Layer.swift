import BlockCore

/// One opened layer: its index, and the files that its segments point into.
public struct Layer: Sendable {
  /// What a layer is.
  public enum Form: String, Sendable {
    /// Sealed or committed: header, data, index, trailer.
    case sealed
    /// A warp file of TurboOCI over a tar.
    case warp
    /// A writable pair in append mode, opened for reading.
    case writable
    /// A writable file in sparse mode, opened for reading.
    case sparse
    /// A writable warp file, opened for reading.
    case writableWarp
  }

  /// What it is.
  public let form: Form
  /// The fields of its authoritative header: the trailer, or the writable layer's header.
  public let header: LSMTHeader
  /// The file that the header was read from, as errors call it.
  public let headerName: String
  /// The index, sorted and without overlaps; a segment's source is a position in ``sources``.
  public let segments: ContiguousArray<Segment>
  /// How many entries the stored index has, padding included; 0 for a sparse file, which stores none.
  public let storedEntryCount: UInt64
  /// The files with the data: the layer itself, and the tar of a warp layer.
  public let sources: [any ByteSource]

  /// Bytes of an entry of a stored index.
  public static let storedEntryByteCount = StoredSegment.byteCount

  /// The size of the disk in bytes; 0 to inherit it from the layer beneath.
  public var virtualSize: UInt64 { header.virtualSize }
  /// Where the size stands in the file, in bytes: in the trailer, or in a writable layer's header.
  var virtualSizePosition: UInt64 {
    let isSealed = form == .sealed || form == .warp
    return (isSealed ? sources[0].byteCount - UInt64(LSMTHeader.byteCount) : 0) + 48
  }
  /// What errors call the layer.
  public var name: String { sources[0].name }
}

/// What a layer's data may be taken from, for the check of its segments.
struct DataBounds {
  /// The lowest sector that may hold data.
  let first: UInt64
  /// The sector behind the last one that may.
  let end: UInt64
  /// How many sectors behind that a segment may end that begins before it; they read as zeros.
  var extra: UInt64 = 0
  /// Whether zeroed segments have to point inside too.
  let bindsZeroed: Bool

  /// Blocks of the file systems that TurboOCI layers hold, in sectors: what maps a file to its tar maps whole blocks.
  static let blockSectors: UInt64 = 8

  /// What a warp layer's segments may take from a tar: the last sector may be cut short, and the last block may go on
  /// behind the tar's end; what is missing is padding.
  init(tarByteCount: UInt64) {
    self.init(
      first: 0, end: (tarByteCount + VolumeGeometry.sectorSize - 1) / VolumeGeometry.sectorSize,
      bindsZeroed: false, extra: Self.blockSectors - 1)
  }

  init(first: UInt64, end: UInt64, bindsZeroed: Bool, extra: UInt64 = 0) {
    self.first = first
    self.end = end
    self.bindsZeroed = bindsZeroed
    self.extra = extra
  }

  /// The tar as a warp layer's source.
  static func padded(tar: any ByteSource) -> PaddedSource {
    PaddedSource(tar, extraSectors: blockSectors - 1)
  }

  /// Throws unless a segment's data lies inside.
  ///
  /// - Parameters:
  ///   - segment: The entry as stored.
  ///   - number: Its number in the index.
  ///   - position: Where it stands in the file, in bytes.
  ///   - file: The file's name.
  func check(
    _ segment: StoredSegment, number: Int, at position: UInt64, of file: String
  ) throws(BlockError) {
    if segment.isZeroed {
      if !bindsZeroed || (first <= segment.moffset && segment.moffset <= end) { return }
    } else if first <= segment.moffset && segment.moffset < end && segment.mend <= end + extra {
      return
    }
    throw .corrupt(
      file: file, field: "index entry \(number) moffset", at: position + 8,
      "points to sectors \(segment.moffset) to \(segment.mend), and data stands in \(first) to \(end)")
  }
}

extension StoredSegment {
  /// The segment in memory.
  ///
  /// - Throws: `corrupt` if it reaches behind the last sector that there can be, `unsupported` if its data
  ///   stands further into a file than 64 PiB.
  func inMemory(
    source: UInt16, number: Int, at position: UInt64, of file: String
  ) throws(BlockError) -> Segment {
    guard offset + length <= Segment.maximumOffset else {
      throw .corrupt(
        file: file, field: "index entry \(number) length", at: position,
        "is \(length) from sector \(offset), which reaches behind sector \(Segment.maximumOffset)")
    }
    // A zeroed segment has no data; its moffset is only a mark of where the writer stood.
    guard isZeroed || mend <= Segment.maximumMoffset else {
      throw .unsupported(
        file: file, field: "index entry \(number) moffset", at: position + 8, "is \(moffset) sectors")
    }
    return Segment(
      offset: offset, length: length, moffset: isZeroed ? 0 : moffset, isZeroed: isZeroed, source: source)
  }
}

/// Reading the entries of a stored index, step by step.
struct IndexReader {
  let source: any ByteSource
  /// Where the entries begin, in bytes.
  let start: UInt64
  /// How many there are.
  let count: Int

  /// Where an entry stands, in bytes.
  func position(of number: Int) -> UInt64 {
    start + UInt64(number * StoredSegment.byteCount)
  }

  /// Calls a body with every entry that is no padding, in order.
  func forEach(
    using workspace: Workspace, _ body: (StoredSegment, Int) throws(BlockError) -> Void
  ) async throws(BlockError) {
    let entriesPerStep = Limits.indexReadBytes / StoredSegment.byteCount
    var number = 0
    while number < count {
      let here = min(entriesPerStep, count - number)
      let bytes = try await source.bytes(
        at: position(of: number), byteCount: here * StoredSegment.byteCount, using: workspace)
      for entry in 0..<here {
        let segment = StoredSegment(bytes.span.bytes, at: entry * StoredSegment.byteCount)
        if !segment.isPadding { try body(segment, number + entry) }
      }
      number += here
    }
  }
}
