/// A source made whole sectors: the bytes behind its end read as zeros, up to the next sector.
///
/// A tar may end inside its last sector, whose rest is padding by definition; a raw image may end there too.
public final class PaddedSource: ByteSource {
  private let base: any ByteSource
  public let byteCount: UInt64
  public var name: String { base.name }

  /// Makes a padded view of a source.
  ///
  /// - Parameters:
  ///   - base: The source.
  ///   - extraSectors: How many sectors of zeros follow the last one.
  public init(_ base: any ByteSource, extraSectors: UInt64 = 0) {
    self.base = base
    let sector = VolumeGeometry.sectorSize
    byteCount = ((base.byteCount + sector - 1) / sector + extraSectors) * sector
  }

  public func extentsWithData() async throws(BlockError) -> [Range<UInt64>] {
    try await base.extentsWithData()
  }

  public func willNeed(_ range: Range<UInt64>) {
    let own = range.clamped(to: 0..<base.byteCount)
    if !own.isEmpty { base.willNeed(own) }
  }

  /// How many of a range's bytes are the base's.
  private func own(at offset: UInt64, _ count: Int) -> Int {
    offset >= base.byteCount ? 0 : Int(min(UInt64(count), base.byteCount - offset))
  }

  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    let own = own(at: offset, count)
    if own < count {
      var rest = destination._mutatingExtracting(own..<count)
      rest.zero()
    }
    var part = destination._mutatingExtracting(0..<own)
    return try base.readNow(at: min(offset, base.byteCount), into: &part, using: workspace)
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    let own = own(at: offset, count)
    if own < count {
      var rest = destination._mutatingExtracting(own..<count)
      rest.zero()
    }
    var part = destination._mutatingExtracting(0..<own)
    try await base.read(at: min(offset, base.byteCount), into: &part, using: workspace)
  }
}
