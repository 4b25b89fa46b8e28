/// A volume that reads as zeros and forgets what is written: what a transport costs by itself, for measuring.
public final class NullVolume: Volume {
  public let geometry: VolumeGeometry

  /// Makes a volume of a size.
  public init(_ geometry: VolumeGeometry) {
    self.geometry = geometry
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    if request.operation == .read {
      data.withUnsafeMutableBytes { bytes in _ = bytes.initializeMemory(as: UInt8.self, repeating: 0) }
    }
    return .done
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {}
}
