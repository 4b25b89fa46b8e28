/// A volume that knows which of its ranges read as zeros without looking at them.
///
/// Tools that copy a volume ask it, so that they neither read nor write what is not there.
public protocol ExtentReporting: Volume {
  /// The ranges that may hold something else than zeros: in order, without overlaps, in bytes.
  ///
  /// - Throws: What the storage below throws.
  func dataExtents() async throws(BlockError) -> [Range<UInt64>]
}
