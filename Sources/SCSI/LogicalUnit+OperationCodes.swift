import BlockCore

/// What commands there are (SPC-4, 6.35 and 6.36).
extension LogicalUnit {
  func operationCodes(_ command: Command) throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    let hasTimeouts = cdb.hasBits(0x80, at: 2)
    let code = cdb.uint8(3)
    let action = cdb.uint16(4)
    let data: DataInBytes
    switch cdb.uint8(2) & 0x07 {
    case 0: data = allCommands(hasTimeouts)
    case 1:
      if CommandTable.hasServiceActions(code) == true { throw .invalidField(3) }
      data = oneCommand(code, 0, hasTimeouts)
    case 2:
      if CommandTable.hasServiceActions(code) == false { throw .invalidField(3) }
      data = oneCommand(code, action, hasTimeouts)
    case 3:
      // One without service actions is asked for with none.
      let isNone = CommandTable.hasServiceActions(code) == false && action != 0
      data = isNone ? Self.unsupported : oneCommand(code, action, hasTimeouts)
    default: throw .invalidField(2)
    }
    return data.answer(command, allocationLength: Int(cdb.uint32(6)))
  }

  private func allCommands(_ hasTimeouts: Bool) -> DataInBytes {
    var data = DataInBytes(count: 4)
    for description in CommandTable.all where isSupported(description) {
      data.append([description.operationCode, 0])
      data.append(UInt16(description.serviceAction ?? 0))
      let hasServiceAction: UInt8 = description.serviceAction == nil ? 0 : 1
      data.append([0, (hasTimeouts ? 2 : 0) | hasServiceAction])
      data.append(UInt16(description.usage.count))
      if hasTimeouts { Self.append(description.timeout, to: &data) }
    }
    data.put(UInt32(data.count - 4), at: 0)
    return data
  }

  /// SUPPORT is 1: not supported.
  private static let unsupported = DataInBytes([0, 1, 0, 0])

  private func oneCommand(_ code: UInt8, _ action: UInt16, _ hasTimeouts: Bool) -> DataInBytes {
    guard let action = UInt8(exactly: action),
      let description = CommandTable.description(of: code, serviceAction: action), isSupported(description)
    else { return Self.unsupported }
    // SUPPORT is 3: supported as the standard has it.
    var data = DataInBytes([0, (hasTimeouts ? 0x80 : 0) | 3])
    data.append(UInt16(description.usage.count))
    data.append(description.usage)
    if hasTimeouts { Self.append(description.timeout, to: &data) }
    return data
  }

  /// A command timeouts descriptor: no nominal time, and when to give up.
  private static func append(_ timeout: UInt32, to data: inout DataInBytes) {
    data.append(UInt16(10))
    data.append(UInt16(0))
    data.append(UInt32(0))
    data.append(timeout)
  }

  /// ABORT TASK and LOGICAL UNIT RESET, which the kernel passes on.
  func taskManagementFunctions(_ command: Command) throws(SenseData) -> CommandResult {
    let isExtended = command.cdb.hasBits(0x80, at: 2)
    var data = DataInBytes(count: isExtended ? 16 : 4)
    data.put(UInt8(0x88), at: 0)
    if isExtended { data.put(UInt8(12), at: 3) }
    return data.answer(command, allocationLength: Int(command.cdb.uint32(6)))
  }
}
