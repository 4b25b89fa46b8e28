import BlockCore

/// MODE SENSE and MODE SELECT, 6 and 10 (SPC-4, 6.11 to 6.14).
extension LogicalUnit {
  func modeSense(_ command: Command) throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    let isLong = cdb.operationCode == 0x5A
    let pages = try modePages(cdb.uint8(2) & 0x3F, subpage: cdb.uint8(3))
    var content: [UInt8] = []
    for page in pages {
      switch cdb.uint8(2) >> 6 {
      case 0: content += page.current
      case 1: content += page.changeable
      case 2: content += page.standard
      default: throw .savingNotSupported
      }
    }
    let hasLongBlock = isLong && cdb.hasBits(0x10, at: 1)
    let block = cdb.hasBits(0x08, at: 1) ? [] : blockDescriptor(isLong: hasLongBlock)
    // WP, and DPOFUA: FUA is honoured.
    let isProtected = volume.geometry.isReadOnly || conditions.now.contains(.softwareWriteProtect)
    let specific: UInt8 = (isProtected ? 0x80 : 0) | 0x10
    var data: DataInBytes
    if isLong {
      data = DataInBytes(count: 8)
      data.put(UInt16(6 + block.count + content.count), at: 0)
      data.put(specific, at: 3)
      data.put(UInt8(hasLongBlock && !block.isEmpty ? 1 : 0), at: 4)
      data.put(UInt16(block.count), at: 6)
    } else {
      data = DataInBytes([UInt8(3 + block.count + content.count), 0, specific, UInt8(block.count)])
    }
    data.append(block)
    data.append(content)
    return data.answer(
      command, allocationLength: isLong ? Int(cdb.uint16(7)) : Int(cdb.uint8(4)))
  }

  /// The pages that a page code and a subpage code stand for.
  private func modePages(_ code: UInt8, subpage: UInt8) throws(SenseData) -> [ModePage] {
    let pages = modePages.filter {
      (code == 0x3F || $0.code == code) && (subpage == 0xFF || $0.subpage == subpage)
    }
    guard !pages.isEmpty, code != 0x3F || subpage == 0 || subpage == 0xFF else { throw .invalidField(2) }
    return pages
  }

  /// How many blocks of which size: 8 bytes, or 16 (SBC-3, 6.5.2).
  private func blockDescriptor(isLong: Bool) -> [UInt8] {
    let blockSize = UInt32(volume.geometry.logicalBlockSize)
    let count = volume.geometry.byteCount / UInt64(blockSize)
    var data = DataInBytes()
    if isLong {
      data.append(count)
      data.append(UInt32(0))
    } else {
      data.append(UInt32(clamping: count))
    }
    data.append(blockSize)
    return data.bytes
  }

  /// Changes what may be changed: the pages are checked all before one is applied.
  func modeSelect(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    let isLong = cdb.operationCode == 0x55
    // PF: pages as the standard has them; SP: saving.
    guard cdb.hasBits(0x10, at: 1), !cdb.hasBits(0x01, at: 1) else { throw .invalidField(1) }
    let listLength = isLong ? Int(cdb.uint16(7)) : Int(cdb.uint8(4))
    if listLength == 0 { return .good }
    guard listLength <= Limits.modeParameterBytes else { throw .parameterListLength }
    let list = command.data.bytes(atMost: listLength)
    let start = try checkModeHeader(list, isLong: isLong)
    let wanted = try readModePages(list, from: start)
    for page in wanted { try await apply(page, workspace) }
    if !wanted.isEmpty { options.onSettingsChange() }
    return .good
  }

  /// Checks header and block descriptor of a parameter list; returns where the pages begin.
  private func checkModeHeader(_ list: [UInt8], isLong: Bool) throws(SenseData) -> Int {
    let header = isLong ? 8 : 4
    guard list.count >= header else { throw .parameterListLength }
    let hasLongBlock = isLong && list[4] & 1 != 0
    let blockCount = isLong ? Int(list[6]) << 8 | Int(list[7]) : Int(list[3])
    guard list.count >= header + blockCount else { throw .parameterListLength }
    let expected = blockDescriptor(isLong: hasLongBlock)
    guard blockCount == 0 || blockCount == expected.count else { throw .invalidParameter(header - 1) }
    if blockCount > 0 {
      let block = Array(list[header..<header + blockCount])
      let lengthStart = hasLongBlock ? 12 : 5
      // A count of 0 or of all ones leaves the size as it is; so does the size.
      let count = hasLongBlock ? block[..<8] : block[..<4]
      let isSameCount =
        count.allSatisfy { $0 == 0 } || count.allSatisfy { $0 == 0xFF } || count == expected[..<count.count]
      guard isSameCount, block[lengthStart...] == expected[lengthStart...] else {
        throw .invalidParameter(header)
      }
    }
    return header + blockCount
  }

  /// Takes the pages out of a parameter list, and refuses what they may not change.
  private func readModePages(_ list: [UInt8], from start: Int) throws(SenseData) -> [ArraySlice<UInt8>] {
    var wanted: [ArraySlice<UInt8>] = []
    var offset = start
    let known = modePages
    while offset < list.count {
      let isSubpage = list[offset] & 0x40 != 0
      guard list.count - offset >= (isSubpage ? 4 : 2) else { throw .parameterListLength }
      let code = list[offset] & 0x3F
      let subpage = isSubpage ? list[offset + 1] : 0
      guard let page = known.first(where: { $0.code == code && $0.subpage == subpage }) else {
        throw .invalidParameter(offset)
      }
      let length = isSubpage ? Int(list[offset + 2]) << 8 | Int(list[offset + 3]) : Int(list[offset + 1])
      let count = length + (isSubpage ? 4 : 2)
      guard count == page.current.count else { throw .invalidParameter(offset + 1) }
      guard list.count - offset >= count else { throw .parameterListLength }
      let bytes = list[offset..<offset + count]
      if let refused = page.refusedByte(bytes) { throw .invalidParameter(offset + refused) }
      wanted.append(bytes)
      offset += count
    }
    return wanted
  }

  /// Takes over the bits of a page that may be changed.
  private func apply(_ page: ArraySlice<UInt8>, _ workspace: Workspace) async throws(SenseData) {
    let bytes = Array(page)
    switch bytes[0] & 0x7F {
    case 0x08:
      let hasCache = bytes[2] & 0x04 != 0
      conditions.set(.writeThrough, to: !hasCache)
      // From here on nothing may be in the cache only.
      if !hasCache { try await flush(workspace) }
    case 0x0A:
      conditions.set(.descriptorSense, to: bytes[2] & 0x04 != 0)
      conditions.set(.softwareWriteProtect, to: bytes[4] & 0x08 != 0)
    default: break
    }
  }
}
