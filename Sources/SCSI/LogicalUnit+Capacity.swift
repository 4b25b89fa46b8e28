import BlockCore

/// READ CAPACITY (SBC-3, 5.15 and 5.16).
extension LogicalUnit {
  private var lastBlock: UInt64 {
    volume.geometry.byteCount / UInt64(volume.geometry.logicalBlockSize) - 1
  }

  func readCapacity10(_ command: Command) throws(SenseData) -> CommandResult {
    // PMI and the address that went with it, and RELADR, are obsolete.
    if command.cdb.hasBits(0x01, at: 1) { throw .invalidField(1) }
    if command.cdb.hasBits(0x01, at: 8) { throw .invalidField(8) }
    if command.cdb.uint32(2) != 0 { throw .invalidField(2) }
    var data = DataInBytes()
    data.append(UInt32(clamping: lastBlock))
    data.append(UInt32(volume.geometry.logicalBlockSize))
    return data.answer(command, allocationLength: data.count)
  }

  func readCapacity16(_ command: Command) throws(SenseData) -> CommandResult {
    if command.cdb.hasBits(0x01, at: 14) { throw .invalidField(14) }
    if command.cdb.uint64(2) != 0 { throw .invalidField(2) }
    var data = DataInBytes(count: 32)
    data.put(lastBlock, at: 0)
    data.put(UInt32(volume.geometry.logicalBlockSize), at: 8)
    data.put(physicalBlockExponent, at: 13)
    // LBPME and LBPRZ: blocks can be given back, and read as zeros then.
    if canUnmap { data.put(UInt8(0xC0), at: 14) }
    return data.answer(command, allocationLength: Int(command.cdb.uint32(10)))
  }

  /// How many logical blocks are in a physical one, as a power of two.
  private var physicalBlockExponent: UInt8 {
    let ratio = options.physicalBlockBytes / volume.geometry.logicalBlockSize
    return ratio > 1 ? UInt8(min(ratio.bitWidth - 1 - ratio.leadingZeroBitCount, 15)) : 0
  }
}
