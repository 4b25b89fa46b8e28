import BlockCore

/// WRITE SAME (SBC-3, 5.45 and 5.46).
extension LogicalUnit {
  /// The most blocks of a WRITE SAME, as the block limits page says.
  var maximumWriteSameBlocks: UInt64 {
    options.profile == .tcmuRunner
      ? 0xFFFF_FFFF : UInt64(Limits.writeSameBytes / volume.geometry.logicalBlockSize)
  }

  /// One block of data for all blocks; zeros become holes if UNMAP says that they may.
  func writeSame(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let extent = Extent(command.cdb)
    let blockSize = volume.geometry.logicalBlockSize
    let mayUnmap = extent.options & 0x08 != 0
    let hasNoData = command.cdb.operationCode == 0x93 && extent.options & 0x01 != 0
    // WRPROTECT and ANCHOR, and PBDATA and LBDATA of SBC-2; the last bit is NDOB only in the long form.
    if extent.options & 0xF6 != 0 || (extent.options & 0x01 != 0 && !hasNoData) { throw .invalidField(1) }
    if mayUnmap && !canUnmap { throw .invalidField(1) }
    let countOffset = command.cdb.operationCode == 0x93 ? 10 : 7
    // WSNZ: no blocks does not mean all blocks.
    guard extent.blocks > 0, extent.blocks <= maximumWriteSameBlocks else { throw .invalidField(countOffset) }
    let range = try range(extent.lba, extent.blocks)
    let block = hasNoData ? [UInt8](repeating: 0, count: blockSize) : command.data.bytes(atMost: blockSize)
    guard block.count == blockSize else { throw .invalidFieldInCDB }
    var flags = writeFlags(false)
    if block.allSatisfy({ $0 == 0 }) {
      if mayUnmap { flags.insert(.mayUnmap) }
      try await zero(range, flags, workspace)
    } else {
      try await fill(range, block, flags, workspace)
    }
    return .good
  }

  private func fill(
    _ range: Range<UInt64>, _ block: [UInt8], _ flags: BlockRequest.Flags, _ workspace: Workspace
  ) async throws(SenseData) {
    let claim = await claims.take(range)
    defer { claims.release(claim) }
    let step = Int(min(range.upperBound - range.lowerBound, UInt64(Limits.requestBytes)))
    let memory = workspace.component(BounceMemory.self).take(step)
    for start in stride(from: 0, to: step, by: block.count) {
      UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + block.count]).copyBytes(from: block)
    }
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = min(range.upperBound - offset, UInt64(step))
      try await request(
        BlockRequest(.write, at: offset, byteCount: count, flags: flags),
        UnsafeMutableRawBufferPointer(rebasing: memory[..<Int(count)]), workspace)
      offset += count
    }
  }
}
