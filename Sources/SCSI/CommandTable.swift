/// All commands, in the order of their codes.
///
/// A set of usage bits says what is looked at. Bits that have to be zero, since what they ask for is not there
/// (protection information, group numbers, NACA), are not among them.
enum CommandTable {
  /// The row of a command; `nil` if there is none.
  static func description(of cdb: CommandBlock) -> CommandDescription? {
    description(of: cdb.operationCode, serviceAction: cdb.uint8(1) & 0x1F)
  }

  /// The row of an operation code, and of the service action if there are rows for several of those.
  static func description(of operationCode: UInt8, serviceAction: UInt8) -> CommandDescription? {
    let range = ranges[Int(operationCode)]
    return all[range].first { $0.serviceAction == nil || $0.serviceAction == serviceAction }
  }

  /// Whether an operation code has service actions; `nil` if there is no such command.
  static func hasServiceActions(_ operationCode: UInt8) -> Bool? {
    all[ranges[Int(operationCode)]].first.map { $0.serviceAction != nil }
  }

  /// Which rows an operation code has.
  private static let ranges: [Range<Int>] = (0..<256).map { code in
    let start = all.firstIndex { $0.operationCode >= code } ?? all.count
    return start..<(all.firstIndex { $0.operationCode > code } ?? all.count)
  }

  static let all = (control + reads + writes + copies).sorted {
    ($0.operationCode, $0.serviceAction ?? 0) < ($1.operationCode, $1.serviceAction ?? 0)
  }

  private typealias Row = CommandDescription

  /// What asks for or changes the unit's state.
  private static let control = [
    Row("TEST UNIT READY", "00 00 00 00 00 00", [.medium], .now(LogicalUnit.testUnitReady)),
    Row("REQUEST SENSE", "03 01 00 00 ff 00", [.always, .dataIn], .now(LogicalUnit.requestSense)),
    Row("INQUIRY", "12 01 ff ff ff 00", [.always, .dataIn], .now(LogicalUnit.inquiry)),
    Row("MODE SELECT(6)", "15 11 00 00 ff 00", [.dataOut], .waiting(LogicalUnit.modeSelect)),
    Row("MODE SENSE(6)", "1a 08 ff ff ff 00", [.dataIn], .now(LogicalUnit.modeSense)),
    Row("START STOP UNIT", "1b 01 00 0f f7 00", [], .waiting(LogicalUnit.startStopUnit)),
    Row("SEND DIAGNOSTIC", "1d f7 00 ff ff 00", [.medium], .waiting(LogicalUnit.sendDiagnostic)),
    Row("PREVENT ALLOW MEDIUM REMOVAL", "1e 00 00 00 03 00", [], .now(LogicalUnit.preventAllowRemoval)),
    Row(
      "READ CAPACITY(10)", "25 00 ff ff ff ff 00 00 01 00", [.medium, .dataIn],
      .now(LogicalUnit.readCapacity10)),
    Row(
      "READ DEFECT DATA(10)", "37 00 1f 00 00 00 00 ff ff 00", [.medium, .dataIn],
      .now(LogicalUnit.readDefectData10)),
    Row("LOG SENSE", "4d 01 ff ff 00 ff ff ff ff 00", [.dataIn], .now(LogicalUnit.logSense)),
    Row("MODE SELECT(10)", "55 11 00 00 00 00 00 ff ff 00", [.dataOut], .waiting(LogicalUnit.modeSelect)),
    Row("MODE SENSE(10)", "5a 18 ff ff 00 00 00 ff ff 00", [.dataIn], .now(LogicalUnit.modeSense)),
    Row(
      "READ CAPACITY(16)", "9e 10 ff ff ff ff ff ff ff ff ff ff ff ff 01 00", hasServiceAction: true,
      [.medium, .dataIn], .now(LogicalUnit.readCapacity16)),
    Row(
      "GET LBA STATUS", "9e 12 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", hasServiceAction: true,
      [.medium, .dataIn], .waiting(LogicalUnit.lbaStatus)),
    Row(
      "REPORT LUNS", "a0 00 ff 00 00 00 ff ff ff ff 00 00", [.always, .dataIn], .now(LogicalUnit.reportLUNs)),
    Row(
      "REPORT SUPPORTED OPERATION CODES", "a3 0c 87 ff ff ff ff ff ff ff 00 00", hasServiceAction: true,
      [.dataIn], .now(LogicalUnit.operationCodes)),
    Row(
      "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "a3 0d 80 00 00 00 ff ff ff ff 00 00",
      hasServiceAction: true, [.dataIn], .now(LogicalUnit.taskManagementFunctions)),
    Row(
      "READ DEFECT DATA(12)", "b7 1f 00 00 00 00 ff ff ff ff 00 00", [.medium, .dataIn],
      .now(LogicalUnit.readDefectData12)),
  ]

  /// What reads the medium.
  private static let reads = [
    Row("READ(6)", "08 1f ff ff ff 00", [.medium, .dataIn], .transfer),
    Row("READ(10)", "28 18 ff ff ff ff 00 ff ff 00", [.medium, .dataIn], .transfer),
    Row("SEEK(10)", "2b 00 ff ff ff ff 00 00 00 00", [.medium], .now(LogicalUnit.seek)),
    Row("VERIFY(10)", "2f 16 ff ff ff ff 00 ff ff 00", [.medium, .dataOut], .waiting(LogicalUnit.verify)),
    Row("PRE-FETCH(10)", "34 02 ff ff ff ff 00 ff ff 00", [.medium], .waiting(LogicalUnit.prefetch)),
    Row(
      "SYNCHRONIZE CACHE(10)", "35 02 ff ff ff ff 00 ff ff 00", [.medium],
      .waiting(LogicalUnit.synchronizeCache)),
    Row("READ(16)", "88 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium, .dataIn], .transfer),
    Row(
      "VERIFY(16)", "8f 16 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium, .dataOut],
      .waiting(LogicalUnit.verify)),
    Row(
      "PRE-FETCH(16)", "90 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium],
      .waiting(LogicalUnit.prefetch)),
    Row(
      "SYNCHRONIZE CACHE(16)", "91 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium],
      .waiting(LogicalUnit.synchronizeCache)),
    Row("READ(12)", "a8 18 ff ff ff ff ff ff ff ff 00 00", [.medium, .dataIn], .transfer),
    Row(
      "VERIFY(12)", "af 16 ff ff ff ff ff ff ff ff 00 00", [.medium, .dataOut], .waiting(LogicalUnit.verify)),
  ]

  /// What changes it.
  private static let writes = [
    Row(
      "FORMAT UNIT", "04 3f 00 00 00 00", [.medium, .writes, .dataOut], timeout: 86400,
      .waiting(LogicalUnit.formatUnit)),
    Row("WRITE(6)", "0a 1f ff ff ff 00", [.medium, .writes, .dataOut], .transfer),
    Row("WRITE(10)", "2a 18 ff ff ff ff 00 ff ff 00", [.medium, .writes, .dataOut], .transfer),
    Row(
      "WRITE AND VERIFY(10)", "2e 16 ff ff ff ff 00 ff ff 00", [.medium, .writes, .dataOut],
      .waiting(LogicalUnit.writeAndVerify)),
    Row(
      "WRITE SAME(10)", "41 08 ff ff ff ff 00 ff ff 00", [.medium, .writes, .dataOut], timeout: 120,
      .waiting(LogicalUnit.writeSame)),
    Row(
      "UNMAP", "42 00 00 00 00 00 00 ff ff 00", [.medium, .writes, .unmaps, .dataOut], timeout: 120,
      .waiting(LogicalUnit.unmap)),
    Row(
      "COMPARE AND WRITE", "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 00 00", [.medium, .writes, .dataOut],
      .waiting(LogicalUnit.compareAndWrite)),
    Row(
      "WRITE(16)", "8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium, .writes, .dataOut], .transfer),
    Row(
      "ORWRITE(16)", "8b 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium, .writes, .dataOut],
      .waiting(LogicalUnit.orWrite)),
    Row(
      "WRITE AND VERIFY(16)", "8e 16 ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
      [.medium, .writes, .dataOut], .waiting(LogicalUnit.writeAndVerify)),
    Row(
      "WRITE SAME(16)", "93 09 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", [.medium, .writes, .dataOut],
      timeout: 120, .waiting(LogicalUnit.writeSame)),
    Row("WRITE(12)", "aa 18 ff ff ff ff ff ff ff ff 00 00", [.medium, .writes, .dataOut], .transfer),
    Row(
      "WRITE AND VERIFY(12)", "ae 16 ff ff ff ff ff ff ff ff 00 00", [.medium, .writes, .dataOut],
      .waiting(LogicalUnit.writeAndVerify)),
  ]

  /// Third-party copy; which of its devices is written to stands in the parameters.
  private static let copies = [
    Row(
      "EXTENDED COPY(LID1)", "83 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00", hasServiceAction: true,
      [.medium, .dataOut], timeout: 3600, .waiting(LogicalUnit.extendedCopy)),
    Row(
      "RECEIVE COPY STATUS(LID1)", "84 00 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00", hasServiceAction: true,
      [.dataIn], .now(LogicalUnit.copyStatus)),
    Row(
      "RECEIVE COPY OPERATING PARAMETERS", "84 03 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
      hasServiceAction: true, [.dataIn], .now(LogicalUnit.copyOperatingParameters)),
    Row(
      "RECEIVE COPY FAILURE DETAILS(LID1)", "84 04 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
      hasServiceAction: true, [.dataIn], .now(LogicalUnit.copyFailureDetails)),
  ]
}
