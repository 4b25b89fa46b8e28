/// A volume whose size can change while it is open.
public protocol ResizableVolume: Volume {
  /// Gives the volume another size; requests that run meanwhile see the old size or the new one.
  ///
  /// - Parameter byteCount: The new size in bytes: whole logical blocks.
  /// - Throws: `unsupported` for a smaller size, what the storage below throws.
  func resize(to byteCount: UInt64) async throws(BlockError)
}
