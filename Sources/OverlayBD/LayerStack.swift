import BlockCore

/// A stack of layers as one read-only disk.
///
/// All indexes are merged into one when the stack is opened, so that a read costs the same whether the
/// stack has one layer or two hundred.
public final class LayerStack: Volume {
  @usableFromInline let index: SegmentIndex
  @usableFromInline let sources: ContiguousArray<any ByteSource>
  public let geometry: VolumeGeometry

  /// Stacks layers.
  ///
  /// - Parameters:
  ///   - layers: From the bottom up; at least one, and at most 255 besides a writable one on top.
  ///   - name: What errors call the stack.
  /// - Throws: `corrupt` for a size that no disk can have, `exhausted` beyond a limit.
  public init(_ layers: [Layer], name: String) throws(BlockError) {
    let readOnlyCount = layers.count { $0.form == .sealed || $0.form == .warp }
    guard !layers.isEmpty, readOnlyCount <= Limits.layersInStack else {
      throw BlockError(
        .exhausted, step: "stack the layers of", object: name,
        cause: "it has \(readOnlyCount) layers, and 1 to \(Limits.layersInStack) are allowed",
        remedy: "Merge some of the layers into one.")
    }
    let count = layers.reduce(0) { $0 + $1.segments.count }
    guard count <= Limits.segmentsInStack else { throw Self.tooManyEntries(UInt64(count), name) }
    var sources = ContiguousArray<any ByteSource>()
    var moved: [ContiguousArray<Segment>] = []
    for layer in Self.distinct(layers) {
      let base = UInt16(sources.count)
      moved.append(
        base == 0
          ? layer.segments : ContiguousArray(layer.segments.lazy.map { $0.moved(to: base + $0.source) }))
      sources.append(contentsOf: layer.sources)
    }
    self.sources = sources
    index = SegmentIndex(try SegmentMerge.flatten(moved, object: name))
    geometry = VolumeGeometry(byteCount: try Self.virtualSize(of: layers), isReadOnly: true)
  }

  /// The layers without those that are there once more above: what such a one covers, that one hides.
  private static func distinct(_ layers: [Layer]) -> [Layer] {
    var seen: Set<ObjectIdentifier> = []
    return layers.reversed().filter { seen.insert(ObjectIdentifier($0.sources[0])).inserted }.reversed()
  }

  /// The error of layers that have too many index entries together.
  ///
  /// - Parameters:
  ///   - count: How many they have.
  ///   - name: What the error calls the stack.
  public static func tooManyEntries(_ count: UInt64, _ name: String) -> BlockError {
    BlockError(
      .exhausted, step: "stack the layers of", object: name,
      cause: "together their indexes have \(count) entries, and \(Limits.segmentsInStack) are allowed",
      remedy: "Merge some of the layers into one.")
  }

  /// The size of the topmost layer that has one (specification, §5.3).
  private static func virtualSize(of layers: [Layer]) throws(BlockError) -> UInt64 {
    let layer = layers.last { $0.virtualSize != 0 } ?? layers[layers.count - 1]
    let size = layer.virtualSize
    guard size > 0 else {
      throw .corrupt(
        file: layer.headerName, field: "virtual_size", at: layer.virtualSizePosition,
        "is 0, and no layer beneath has a size to inherit")
    }
    guard size % VolumeGeometry.sectorSize == 0, size <= Limits.volumeBytes else {
      throw .corrupt(
        file: layer.headerName, field: "virtual_size", at: layer.virtualSizePosition,
        "is \(size), which is not whole sectors of a possible disk")
    }
    return size
  }

  /// How many segments the merged index has.
  public var segmentCount: Int { index.count }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    guard request.operation == .read else { return try serveChange(request) }
    var runs = SegmentRuns(index, request)
    var filled = 0
    while let run = runs.next() {
      var part = data._mutatingExtracting(filled..<filled &+ run.byteCount)
      filled &+= run.byteCount
      if run.isZero {
        part.zero()
      } else if try sources[run.source].readNow(at: run.offset, into: &part, using: workspace) == .mustWait {
        return .mustWait
      }
    }
    return .done
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    guard request.operation == .read else {
      _ = try serveChange(request)
      return
    }
    announce(request)
    var runs = SegmentRuns(index, request)
    var filled = 0
    while let run = runs.next() {
      var part = data._mutatingExtracting(filled..<filled &+ run.byteCount)
      filled &+= run.byteCount
      if run.isZero {
        part.zero()
      } else {
        // What is there at once takes no longer so, and the first that is not has been tried already.
        try await sources[run.source].read(at: run.offset, into: &part, using: workspace)
      }
    }
  }

  /// Starts reading all parts of a request that has to wait, so that it waits for them together; one that is the only one,
  /// and takes one read, is read at once.
  private func announce(_ request: BlockRequest) {
    var runs = SegmentRuns(index, request)
    var held: SegmentRuns.Run?
    var count = 0
    while let run = runs.next() {
      guard !run.isZero else { continue }
      count += 1
      if let first = held { willNeed(first) }
      held = nil
      if count == 1, run.byteCount <= Limits.zfileBatchBytes { held = run } else { willNeed(run) }
    }
  }

  private func willNeed(_ run: SegmentRuns.Run) {
    sources[run.source].willNeed(run.offset..<run.offset + UInt64(run.byteCount))
  }

  private func serveChange(_ request: BlockRequest) throws(BlockError) -> ServeOutcome {
    guard request.operation == .flush else {
      throw BlockError(
        .readOnly, step: "\(request.operation)", object: "a stack of layers", cause: "it is read-only")
    }
    return .done
  }
}

/// The runs of sectors that a read of a stack falls into: one read of a source, or zeros.
///
/// Segments that follow each other both on the disk and in their file make one run.
struct SegmentRuns {
  /// A run.
  struct Run {
    /// Whether it reads as zeros.
    let isZero: Bool
    /// Which source holds it.
    let source: Int
    /// Where it begins in the source, in bytes.
    let offset: UInt64
    /// Its length in bytes.
    let byteCount: Int
  }

  private let index: SegmentIndex
  private var sector: UInt64
  private let end: UInt64
  private var number: Int

  @inline(__always)
  init(_ index: SegmentIndex, _ request: BlockRequest) {
    self.index = index
    sector = request.offset / VolumeGeometry.sectorSize
    end = (request.offset &+ request.byteCount) / VolumeGeometry.sectorSize
    number = index.firstSegment(endingAfter: sector)
  }

  @inline(__always)
  mutating func next() -> Run? {
    if sector == end { return nil }
    guard number < index.count, index[number].offset < end else { return zeros(upTo: end) }
    let segment = index[number]
    if segment.offset > sector { return zeros(upTo: segment.offset) }
    if segment.isZeroed { return zeros(upTo: min(segment.end, end)) }
    return data(from: segment)
  }

  private mutating func zeros(upTo limit: UInt64) -> Run {
    let count = limit &- sector
    sector = limit
    skipConsumed()
    return Run(isZero: true, source: 0, offset: 0, byteCount: Int(count &* VolumeGeometry.sectorSize))
  }

  private mutating func data(from first: Segment) -> Run {
    let start = first.moffset &+ (sector &- first.offset)
    let begin = sector
    sector = min(first.end, end)
    skipConsumed()
    while sector < end, number < index.count {
      let segment = index[number]
      guard segment.offset == sector, !segment.isZeroed, segment.source == first.source,
        segment.moffset == start &+ (sector &- begin)
      else { break }
      sector = min(segment.end, end)
      skipConsumed()
    }
    return Run(
      isZero: false, source: Int(first.source), offset: start &* VolumeGeometry.sectorSize,
      byteCount: Int((sector &- begin) &* VolumeGeometry.sectorSize))
  }

  @inline(__always)
  private mutating func skipConsumed() {
    if number < index.count && index[number].end <= sector { number &+= 1 }
  }
}

extension LayerStack: ExtentReporting {
  /// The ranges with data in one of the layers, neighbours joined.
  public func dataExtents() async throws(BlockError) -> [Range<UInt64>] {
    let sector = VolumeGeometry.sectorSize
    var extents: [Range<UInt64>] = []
    for number in 0..<index.count where !index[number].isZeroed {
      let segment = index[number]
      let start = segment.offset * sector
      let end = min(segment.end * sector, geometry.byteCount)
      if start >= end { break }
      if let last = extents.last, last.upperBound == start {
        extents[extents.count - 1] = last.lowerBound..<end
      } else {
        extents.append(start..<end)
      }
    }
    return extents
  }
}
