/// A volume that takes its time, as a slow disk or a far registry does.
public final class DelayVolume: Volume {
  private let base: any Volume
  private let delay: Duration
  private let clock: any HostClock
  public let geometry: VolumeGeometry

  /// Makes a slow view of a volume.
  ///
  /// - Parameters:
  ///   - base: The volume that serves in the end.
  ///   - delay: How long every request waits first; with zero the filter does nothing.
  ///   - clock: What measures it.
  public init(_ base: any Volume, by delay: Duration, clock: any HostClock) {
    self.base = base
    self.delay = delay
    self.clock = clock
    self.geometry = base.geometry
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    delay > .zero ? .mustWait : try base.serveNow(request, data: &data, using: workspace)
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    do {
      try await clock.sleep(for: delay)
    } catch {
      throw BlockError(
        .cancelled, step: "\(request.operation)", object: "a delayed volume", cause: "the task was cancelled")
    }
    try await base.serveAnyhow(request, data: &data, using: workspace)
  }
}
