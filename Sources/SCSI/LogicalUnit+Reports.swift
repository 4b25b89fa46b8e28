import BlockCore

/// Short answers about the unit's state.
extension LogicalUnit {
  /// News if there is some, else that the unit is stopped, else nothing (SPC-4, 6.39).
  func requestSense(_ command: Command) throws(SenseData) -> CommandResult {
    var sense = SenseData.none
    if let news = conditions.takeNews() {
      sense = news
    } else if conditions.now.contains(.stopped) {
      sense = .stopped
    }
    var bytes = [UInt8](repeating: 0, count: SenseData.bufferBytes)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    let count = sense.encode(into: &raw, descriptorFormat: command.cdb.hasBits(0x01, at: 1))
    return DataInBytes(Array(bytes[..<count])).answer(command, allocationLength: Int(command.cdb.uint8(4)))
  }

  /// One unit, number 0: the kernel knows better and answers by itself where it can.
  func reportLUNs(_ command: Command) throws(SenseData) -> CommandResult {
    // All units, well-known ones, or both.
    let selection = command.cdb.uint8(2)
    guard selection <= 2 else { throw .invalidField(2) }
    var data = DataInBytes(count: selection == 1 ? 8 : 16)
    data.put(UInt32(data.count - 8), at: 0)
    return data.answer(command, allocationLength: Int(command.cdb.uint32(6)))
  }

  /// No defects are known, in whatever format.
  func readDefectData10(_ command: Command) throws(SenseData) -> CommandResult {
    var data = DataInBytes(count: 4)
    data.put(command.cdb.uint8(2) & 0x1F, at: 1)
    return data.answer(command, allocationLength: Int(command.cdb.uint16(7)))
  }

  func readDefectData12(_ command: Command) throws(SenseData) -> CommandResult {
    var data = DataInBytes(count: 8)
    data.put(command.cdb.uint8(1) & 0x1F, at: 1)
    return data.answer(command, allocationLength: Int(command.cdb.uint32(6)))
  }

  /// The pages 00, 0D (temperature) and 2F (informational exceptions), with their subpage 00 (SPC-4, 7.3).
  func logSense(_ command: Command) throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    // SP: saving parameters.
    if cdb.hasBits(0x01, at: 1) { throw .invalidField(1) }
    let page = cdb.uint8(2) & 0x3F
    let subpage = cdb.uint8(3)
    let pages: [UInt8] = [0x00, 0x0D, 0x2F]
    var data = DataInBytes(count: 4)
    switch (page, subpage) {
    case (0x00, 0x00): data.append(pages)
    case (0x00, 0xFF): for page in pages { data.append([page, 0]) }
    // No sensor: two parameters of 2 bytes, FFh for a temperature that is not known.
    case (0x0D, 0x00): data.append([0, 0, 0x03, 2, 0, 0xFF, 0, 1, 0x03, 2, 0, 0xFF])
    // No exception, no temperature.
    case (0x2F, 0x00): data.append([0, 0, 0x03, 4, 0, 0, 0xFF, 0])
    default: throw .invalidField(2)
    }
    data.put(subpage == 0 ? page : page | 0x40, at: 0)
    data.put(subpage, at: 1)
    data.put(UInt16(data.count - 4), at: 2)
    return data.answer(command, allocationLength: Int(cdb.uint16(7)))
  }
}
