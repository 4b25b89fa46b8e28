/// A volume that refuses writes to one that would take them.
///
/// The refusal itself is the check that every request passes (``BlockRequest/validate(for:dataCount:)``);
/// this filter only says that the volume is read-only. A flush passes: with nothing written through here
/// it is harmless, and hosts send it to read-only disks too.
public final class ReadOnlyVolume: Volume {
  private let base: any Volume
  public let geometry: VolumeGeometry

  /// Makes a read-only view of a volume.
  public init(_ base: any Volume) {
    self.base = base
    self.geometry = base.geometry.readOnly
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try base.serveNow(request, data: &data, using: workspace)
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try await base.serve(request, data: &data, using: workspace)
  }
}
