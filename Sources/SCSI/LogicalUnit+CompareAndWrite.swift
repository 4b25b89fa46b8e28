import BlockCore

/// COMPARE AND WRITE and ORWRITE (SBC-3, 5.3 and 5.9): reading and writing with nobody writing in between.
extension LogicalUnit {
  /// The most blocks of a COMPARE AND WRITE, as the block limits page says.
  var maximumCompareBlocks: UInt8 { options.profile == .tcmuRunner ? 1 : 255 }

  /// The data is the bytes to compare with, and then those to write.
  func compareAndWrite(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    if cdb.hasBits(0xE0, at: 1) { throw .invalidField(1) }
    let blocks = cdb.uint8(13)
    guard blocks <= maximumCompareBlocks else { throw .invalidField(13) }
    let range = try range(cdb.uint64(2), UInt64(blocks))
    let count = Int(range.upperBound - range.lowerBound)
    guard command.data.byteCount >= 2 * count else { throw .invalidField(13) }
    if count == 0 { return .good }
    let claim = await claims.take(range, exclusively: true)
    defer { claims.release(claim) }
    let memory = workspace.component(BounceMemory.self).take(count)
    try await request(
      BlockRequest(.read, at: range.lowerBound, byteCount: UInt64(count)), memory, workspace)
    var cursor = PieceCursor(command.data)
    if let difference = cursor.firstDifference(from: UnsafeRawBufferPointer(memory)) {
      throw .miscompare(at: difference)
    }
    let stream = BlockStream(
      isWrite: true, flags: writeFlags(cdb.hasBits(0x08, at: 1)), range: range, cursor: cursor,
      blockSize: volume.geometry.logicalBlockSize)
    try await run(stream, workspace)
    return .good
  }

  /// Sets in each block the bits that are set in the data.
  func orWrite(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let extent = Extent(command.cdb)
    if extent.asksForProtection { throw .invalidField(1) }
    let range = received(try range(extent.lba, extent.blocks), command)
    if range.isEmpty { return .good }
    let claim = await claims.take(range, exclusively: true)
    defer { claims.release(claim) }
    let flags = writeFlags(extent.forcesUnitAccess)
    let bounce = workspace.component(BounceMemory.self)
    var cursor = PieceCursor(command.data)
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = Int(min(range.upperBound - offset, UInt64(Limits.requestBytes)))
      let memory = bounce.take(count)
      try await request(BlockRequest(.read, at: offset, byteCount: UInt64(count)), memory, workspace)
      let data = bounce.takeMore(count)
      cursor.read(into: data)
      for index in memory.indices { memory[index] |= data[index] }
      try await request(
        BlockRequest(.write, at: offset, byteCount: UInt64(count), flags: flags), memory, workspace)
      offset += UInt64(count)
    }
    return .good
  }
}
