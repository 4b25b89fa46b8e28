/// A part of a volume as a volume of its own: a partition, for one.
public final class SliceVolume: Volume {
  private let base: any Volume
  private let start: UInt64
  public let geometry: VolumeGeometry

  /// Makes a slice.
  ///
  /// - Parameters:
  ///   - base: The whole.
  ///   - range: The part in bytes; both bounds are whole blocks of the base.
  /// - Throws: `invalidArgument` for a misaligned or empty range, `outOfRange` for one that leaves the base.
  public init(of base: any Volume, _ range: Range<UInt64>) throws(BlockError) {
    let whole = base.geometry
    let blockSize = UInt64(whole.logicalBlockSize)
    let object = "bytes \(range.lowerBound) to \(range.upperBound)"
    guard !range.isEmpty, range.lowerBound % blockSize == 0, range.upperBound % blockSize == 0 else {
      throw BlockError(
        .invalidArgument, step: "slice", object: object,
        cause: "the range must be one or more whole blocks of \(blockSize) bytes")
    }
    guard range.upperBound <= whole.byteCount else {
      throw BlockError(
        .outOfRange, step: "slice", object: object, cause: "the volume ends at byte \(whole.byteCount)")
    }
    self.base = base
    self.start = range.lowerBound
    self.geometry = VolumeGeometry(
      byteCount: range.upperBound - range.lowerBound, logicalBlockSize: whole.logicalBlockSize,
      isReadOnly: whole.isReadOnly, canDiscard: whole.canDiscard)
  }

  /// A flush has no range and goes to the base as it is.
  private func moved(_ request: BlockRequest) -> BlockRequest {
    var moved = request
    if request.operation != .flush { moved.offset += start }
    return moved
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try base.serveNow(moved(request), data: &data, using: workspace)
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try await base.serve(moved(request), data: &data, using: workspace)
  }
}
