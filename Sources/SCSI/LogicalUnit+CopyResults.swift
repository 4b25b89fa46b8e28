import BlockCore
import Synchronization

/// How an EXTENDED COPY ended.
struct CopyResult: Sendable {
  let listIdentifier: UInt8
  let isKept: Bool
  var segmentCount: UInt16 = 0
  var byteCount: UInt64 = 0
  var failure: SenseData?

  init(_ parameters: CopyParameters) {
    listIdentifier = parameters.listIdentifier
    isKept = parameters.isKept
  }
}

/// RECEIVE COPY RESULTS (SPC-4, 6.17 to 6.20), and what third-party copy there is.
extension LogicalUnit {
  /// The result of the copy with an identifier.
  private func result(_ command: Command) throws(SenseData) -> CopyResult {
    let identifier = command.cdb.uint8(2)
    let result = copies.withLock { copies in copies.first { $0.listIdentifier == identifier } }
    guard let result else { throw .invalidField(2) }
    return result
  }

  func copyStatus(_ command: Command) throws(SenseData) -> CommandResult {
    let result = try result(command)
    var data = DataInBytes(count: 12)
    data.put(UInt32(8), at: 0)
    data.put(UInt8(result.failure == nil ? 1 : 2), at: 4)
    data.put(result.segmentCount, at: 5)
    // In bytes, or in units of 1 KiB or 1 MiB if that is too many.
    let units = (0..<3).first { result.byteCount >> (10 * UInt64($0)) <= UInt64(UInt32.max) } ?? 2
    data.put(UInt8(units), at: 7)
    data.put(UInt32(clamping: result.byteCount >> (10 * UInt64(units))), at: 8)
    return data.answer(command, allocationLength: Int(command.cdb.uint32(10)))
  }

  /// The sense data of a copy that failed; it is kept for once.
  func copyFailureDetails(_ command: Command) throws(SenseData) -> CommandResult {
    let result = try result(command)
    var data = DataInBytes(count: 4)
    if let failure = result.failure {
      var sense = [UInt8](repeating: 0, count: SenseData.leastBytes)
      var span = sense.mutableSpan
      var raw = span.mutableBytes
      let count = failure.encode(into: &raw, descriptorFormat: usesDescriptorSense)
      data = DataInBytes(count: 60)
      data.put(UInt8(2), at: 56)
      data.put(UInt16(count), at: 58)
      data.append(sense[..<count])
      data.put(UInt32(data.count - 4), at: 0)
      copies.withLock { copies in copies.removeAll { $0.listIdentifier == result.listIdentifier } }
    }
    return data.answer(command, allocationLength: Int(command.cdb.uint32(10)))
  }

  func copyOperatingParameters(_ command: Command) throws(SenseData) -> CommandResult {
    let types = CopyParameters.descriptorTypes
    var data = DataInBytes(count: 44)
    // SNLID: a copy may have no identifier.
    data.put(UInt8(1), at: 4)
    data.put(UInt16(Limits.copyTargets), at: 8)
    data.put(UInt16(Limits.copySegments), at: 10)
    data.put(UInt32(Limits.copyDescriptorBytes), at: 12)
    data.put(mostSegmentBytes, at: 16)
    data.put(UInt16(Limits.waitingRequestsPerQueue), at: 34)
    data.put(UInt8(clamping: Limits.copyResults), at: 36)
    // Segments are whole blocks.
    data.put(UInt8(volume.geometry.logicalBlockSize.trailingZeroBitCount), at: 37)
    data.put(UInt8(types.count), at: 43)
    data.append(types)
    data.put(UInt32(data.count - 4), at: 0)
    return data.answer(command, allocationLength: Int(command.cdb.uint32(10)))
  }

  private var mostSegmentBytes: UInt32 { 0xFFFF * UInt32(volume.geometry.logicalBlockSize) }

  /// The third-party copy page (SPC-4, 7.8.17).
  func thirdPartyCopyPage() -> DataInBytes {
    var content = DataInBytes()
    func append(_ type: UInt16, _ bytes: [UInt8]) {
      let padding = (4 - bytes.count % 4) % 4
      content.append(type)
      content.append(UInt16(bytes.count + padding))
      content.append(bytes + [UInt8](repeating: 0, count: padding))
    }
    // Which commands: operation codes, and how many service actions of each, and which.
    var commands: [UInt8] = []
    for code: UInt8 in [0x83, 0x84] {
      let actions = CommandTable.all.filter { $0.operationCode == code }.compactMap(\.serviceAction)
      commands += [code, UInt8(actions.count)] + actions
    }
    append(0x0001, [UInt8(commands.count)] + commands)
    // How long the parameters may be.
    var limits = DataInBytes(count: 28)
    limits.put(UInt16(Limits.copyTargets), at: 4)
    limits.put(UInt16(Limits.copySegments), at: 6)
    limits.put(UInt32(Limits.copyDescriptorBytes), at: 8)
    append(0x0004, limits.bytes)
    // Which descriptors.
    let types = CopyParameters.descriptorTypes
    append(0x0008, [UInt8(types.count)] + types)
    // How much at a time.
    var operations = DataInBytes(count: 32)
    operations.put(UInt32(Limits.waitingRequestsPerQueue), at: 0)
    operations.put(UInt32(Limits.copyResults), at: 4)
    operations.put(mostSegmentBytes, at: 8)
    operations.put(UInt8(volume.geometry.logicalBlockSize.trailingZeroBitCount), at: 12)
    append(0x8001, operations.bytes)
    return Self.page(0x8F, content.bytes)
  }
}
