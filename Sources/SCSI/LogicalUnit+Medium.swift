import BlockCore

/// What concerns the medium as a whole.
extension LogicalUnit {
  func testUnitReady(_ command: Command) throws(SenseData) -> CommandResult { .good }

  func seek(_ command: Command) throws(SenseData) -> CommandResult {
    _ = try range(UInt64(command.cdb.uint32(2)), 1)
    return .good
  }

  /// Flushes all of the cache, whatever the range, and a read-only volume's not at all.
  ///
  /// IMMED changes nothing: an answer before the flush is over could not tell that it failed.
  func synchronizeCache(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let extent = Extent(command.cdb)
    _ = try range(extent.lba, extent.blocks)
    try await flush(workspace)
    return .good
  }

  /// Reads ahead, so that the host's cache has it, and what comes from far is near.
  ///
  /// The answer is GOOD and not CONDITION MET, since the cache is not ours and promises nothing.
  func prefetch(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let extent = Extent(command.cdb)
    var rest = try range(extent.lba, extent.blocks)
    // No blocks means all that follow (SBC-3, 5.7).
    if extent.blocks == 0 { rest = rest.lowerBound..<volume.geometry.byteCount }
    let end = min(rest.upperBound, rest.lowerBound + UInt64(Limits.prefetchBytes))
    var offset = rest.lowerBound
    while offset < end {
      let count = min(end - offset, UInt64(Limits.requestBytes))
      let memory = workspace.component(BounceMemory.self).take(Int(count))
      try await request(BlockRequest(.read, at: offset, byteCount: count), memory, workspace)
      offset += count
    }
    return .good
  }

  /// Starts and stops; the medium cannot be taken out.
  func startStopUnit(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    // A power condition, and LOEJ.
    if cdb.hasBits(0xF0, at: 4) || cdb.hasBits(0x02, at: 4) { throw .invalidField(4) }
    if cdb.hasBits(0x01, at: 4) {
      conditions.remove(.stopped)
    } else {
      // NO_FLUSH is not set.
      if !cdb.hasBits(0x04, at: 4) { try await flush(workspace) }
      conditions.insert(.stopped)
    }
    return .good
  }

  func preventAllowRemoval(_ command: Command) throws(SenseData) -> CommandResult { .good }

  /// The self-test reads the first block.
  func sendDiagnostic(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    // A self-test code: a test other than the default one. PF and a list: diagnostic pages.
    if cdb.hasBits(0xE0, at: 1) { throw .invalidField(1) }
    if cdb.uint16(3) != 0 { throw .invalidField(3) }
    guard cdb.hasBits(0x04, at: 1) else { return .good }
    let count = volume.geometry.logicalBlockSize
    let memory = workspace.component(BounceMemory.self).take(count)
    do throws(SenseData) {
      try await request(BlockRequest(.read, at: 0, byteCount: UInt64(count)), memory, workspace)
    } catch {
      // Why it failed has been reported.
      throw .selfTestFailed
    }
    return .good
  }

  // MARK: FORMAT UNIT

  /// Makes all blocks zeros, and gives their space back where that is possible.
  ///
  /// Meanwhile other commands get 2/0404 with how far it is.
  func formatUnit(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let isImmediate = try checkFormatParameters(command)
    conditions.setProgress(0)
    guard conditions.insert(.formatting) else { throw .formatting(0) }
    guard isImmediate else {
      defer { conditions.remove(.formatting) }
      try await format(workspace)
      return .good
    }
    options.background {
      do throws(SenseData) {
        try await self.format(Workspace())
      } catch {
        self.conditions.insert(.formatFailed)
      }
      self.conditions.remove(.formatting)
    }
    return .good
  }

  /// Returns IMMED.
  private func checkFormatParameters(_ command: Command) throws(SenseData) -> Bool {
    let cdb = command.cdb
    if cdb.hasBits(0xC0, at: 1) { throw .invalidField(1) }
    guard cdb.hasBits(0x10, at: 1) else {
      // A complete list, or a format of a list, without a list.
      if cdb.hasBits(0x0F, at: 1) { throw .invalidField(1) }
      return false
    }
    let isLong = cdb.hasBits(0x20, at: 1)
    let list = command.data.bytes(atMost: isLong ? 8 : 4)
    guard list.count == (isLong ? 8 : 4) else { throw .parameterListLength }
    if list[0] & 0x07 != 0 { throw .invalidParameter(0) }
    // IP: an initialization pattern.
    if list[1] & 0x08 != 0 { throw .invalidParameter(1) }
    let lengthOffset = isLong ? 4 : 2
    if list[lengthOffset...].contains(where: { $0 != 0 }) { throw .invalidParameter(lengthOffset) }
    return list[1] & 0x02 != 0
  }

  private func format(_ workspace: Workspace) async throws(SenseData) {
    let size = volume.geometry.byteCount
    let flags: BlockRequest.Flags = canUnmap ? .mayUnmap : []
    var offset: UInt64 = 0
    while offset < size {
      let end = min(offset + Limits.zeroingBytes, size)
      try await zero(offset..<end, flags, workspace)
      offset = end
      conditions.setProgress(UInt32(min(Double(offset) / Double(size) * 65536, 65535)))
    }
    try await flush(workspace)
  }
}
