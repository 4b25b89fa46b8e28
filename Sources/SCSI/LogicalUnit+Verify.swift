import BlockCore

/// VERIFY and WRITE AND VERIFY (SBC-3, 5.29 to 5.32 and 5.41 to 5.44).
extension LogicalUnit {
  /// A CDB of 10, 12 or 16 bytes with an address, a count and options in byte 1.
  struct Extent {
    let options: UInt8
    let lba: UInt64
    let blocks: UInt64

    init(_ cdb: CommandBlock) {
      options = cdb.uint8(1)
      switch cdb.operationCode >> 5 {
      case 4: (lba, blocks) = (cdb.uint64(2), UInt64(cdb.uint32(10)))
      case 5: (lba, blocks) = (UInt64(cdb.uint32(2)), UInt64(cdb.uint32(6)))
      default: (lba, blocks) = (UInt64(cdb.uint32(2)), UInt64(cdb.uint16(7)))
      }
    }

    /// Protection information, of which there is none.
    var asksForProtection: Bool { options & 0xE0 != 0 }
    var byteCheck: UInt8 { options >> 1 & 3 }
    var forcesUnitAccess: Bool { options & 0x08 != 0 }
  }

  /// BYTCHK: 0 reads the medium, 1 compares with data, 3 compares each block with one block of data.
  func verify(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let extent = Extent(command.cdb)
    if extent.asksForProtection || extent.byteCheck == 2 { throw .invalidField(1) }
    let range = try range(extent.lba, extent.blocks)
    let blockSize = volume.geometry.logicalBlockSize
    switch extent.byteCheck {
    case 0: try await compare(range, workspace) { _, _ in nil }
    case 1:
      // What has no counterpart cannot be said to be equal.
      guard UInt64(command.data.byteCount) >= range.upperBound - range.lowerBound else {
        throw .invalidFieldInCDB
      }
      var cursor = PieceCursor(command.data)
      try await compare(range, workspace) { bytes, _ in cursor.firstDifference(from: bytes) }
    default:
      if range.isEmpty { return .good }
      guard command.data.byteCount >= blockSize else { throw .invalidFieldInCDB }
      try await compare(range, workspace) { bytes, blockSize in
        for start in stride(from: 0, to: bytes.count, by: blockSize) {
          var cursor = PieceCursor(command.data)
          let block = UnsafeRawBufferPointer(rebasing: bytes[start..<start + blockSize])
          if let difference = cursor.firstDifference(from: block) { return start + difference }
        }
        return nil
      }
    }
    return .good
  }

  /// Writes to the medium, and reads it again; compares if BYTCHK is 1.
  func writeAndVerify(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let extent = Extent(command.cdb)
    if extent.asksForProtection || extent.byteCheck > 1 { throw .invalidField(1) }
    let range = received(try range(extent.lba, extent.blocks), command)
    let claim = await claims.take(range)
    defer { claims.release(claim) }
    let stream = BlockStream(
      isWrite: true, flags: .forceUnitAccess, range: range, cursor: PieceCursor(command.data),
      blockSize: volume.geometry.logicalBlockSize)
    try await run(stream, workspace)
    var cursor = PieceCursor(command.data)
    try await compare(range, workspace) { bytes, _ in
      extent.byteCheck == 1 ? cursor.firstDifference(from: bytes) : nil
    }
    return .good
  }

  /// The part of a range for which whole blocks have come.
  func received(_ range: Range<UInt64>, _ command: Command) -> Range<UInt64> {
    let blockSize = volume.geometry.logicalBlockSize
    let count = UInt64(command.data.byteCount / blockSize * blockSize)
    return range.lowerBound..<range.lowerBound + min(count, range.upperBound - range.lowerBound)
  }

  /// Reads a range in steps and has each looked at.
  ///
  /// - Parameters:
  ///   - range: Whole blocks.
  ///   - workspace: The calling task's own.
  ///   - difference: Gets the bytes of a step, and the block size; returns which byte is not as it should be.
  /// - Throws: E/1D00 for a difference.
  private func compare(
    _ range: Range<UInt64>, _ workspace: Workspace,
    difference: (UnsafeRawBufferPointer, Int) -> Int?
  ) async throws(SenseData) {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = Int(min(range.upperBound - offset, UInt64(Limits.requestBytes)))
      let memory = workspace.component(BounceMemory.self).take(count)
      try await request(BlockRequest(.read, at: offset, byteCount: UInt64(count)), memory, workspace)
      if let index = difference(UnsafeRawBufferPointer(memory), volume.geometry.logicalBlockSize) {
        throw .miscompare(at: Int(offset - range.lowerBound) + index)
      }
      offset += UInt64(count)
    }
  }
}
