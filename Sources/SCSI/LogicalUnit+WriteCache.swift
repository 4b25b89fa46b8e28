import BlockCore

extension LogicalUnit {
  /// Turns the volatile write cache on or off, as MODE SELECT of the WCE bit does: on behalf of whoever manages the
  /// device.
  ///
  /// - Throws: What the flush throws that turning it off takes: from then on nothing may be in the cache only.
  public func setWriteCache(_ isOn: Bool) async throws(BlockError) {
    conditions.set(.writeThrough, to: !isOn)
    options.onSettingsChange()
    guard !isOn, !volume.geometry.isReadOnly else { return }
    var data = MutableRawSpan()
    try await volume.perform(.flush, data: &data, using: Workspace())
  }
}
