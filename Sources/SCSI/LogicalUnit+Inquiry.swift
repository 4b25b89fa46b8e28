import BlockCore

/// INQUIRY: the standard data, and which page is asked for (SPC-4, 6.6).
extension LogicalUnit {
  func inquiry(_ command: Command) throws(SenseData) -> CommandResult {
    let cdb = command.cdb
    let page = cdb.uint8(2)
    let data: DataInBytes
    if cdb.hasBits(0x01, at: 1) {
      data = try vitalProductData(page)
    } else {
      if page != 0 { throw .invalidField(2) }
      data = standardInquiryData
    }
    return data.answer(command, allocationLength: Int(cdb.uint16(3)))
  }

  private var standardInquiryData: DataInBytes {
    let isStrict = options.profile == .strict
    // A disk; SPC-4, or SPC-3; data in the format of the standard.
    var data = DataInBytes([0, 0, isStrict ? 6 : 5, 2, isStrict ? 91 : 31])
    // 3PC: third-party copy; CMDQUE: commands are queued.
    data.append([0x08, 0, 0x02])
    data.append(options.vendor, count: 8)
    data.append(options.product, count: 16)
    data.append(options.revision, count: 4)
    guard isStrict else { return data }
    data.append([UInt8](repeating: 0, count: 58 - data.count))
    // Version descriptors: SAM-5, SPC-4, SBC-3.
    for standard: UInt16 in [0x00A0, 0x0460, 0x04C0] { data.append(standard) }
    data.append([UInt8](repeating: 0, count: 96 - data.count))
    return data
  }

  /// A page of vital product data.
  private func vitalProductData(_ page: UInt8) throws(SenseData) -> DataInBytes {
    let isStrict = options.profile == .strict
    switch page {
    case 0x00: return supportedPages(isStrict)
    case 0x80: return serialNumberPage(isStrict)
    case 0x83: return identificationPage()
    case 0x86 where isStrict: return extendedInquiryPage
    case 0x8F where isStrict: return thirdPartyCopyPage()
    case 0xB0: return blockLimitsPage(isStrict)
    case 0xB1: return characteristicsPage(isStrict)
    case 0xB2: return provisioningPage(isStrict)
    default: throw .invalidField(2)
    }
  }

  /// Begins a page of a known length.
  static func page(_ code: UInt8, length: Int) -> DataInBytes {
    var data = DataInBytes(count: 4 + length)
    data.put(code, at: 1)
    data.put(UInt16(length), at: 2)
    return data
  }

  /// Begins a page that is all there.
  static func page(_ code: UInt8, _ content: [UInt8]) -> DataInBytes {
    var data = page(code, length: 0)
    data.append(content)
    data.put(UInt16(content.count), at: 2)
    return data
  }

  private func supportedPages(_ isStrict: Bool) -> DataInBytes {
    if isStrict { return Self.page(0x00, [0x00, 0x80, 0x83, 0x86, 0x8F, 0xB0, 0xB1, 0xB2]) }
    var data = Self.page(0x00, [0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2])
    // It sends 16 bytes, whatever the page's length.
    data.append([UInt8](repeating: 0, count: 16 - data.count))
    return data
  }

  private func serialNumberPage(_ isStrict: Bool) -> DataInBytes {
    let serial = Array(options.serial().utf8.prefix(Identity.mostSerialBytes))
    return Self.page(0x80, isStrict ? serial : serial + [0])
  }

  private func identificationPage() -> DataInBytes {
    Self.page(0x83, Identity(options).designators)
  }

  /// The NAA designator of 16 bytes, by which EXTENDED COPY names the unit; `nil` as long as there is no serial number.
  public var designator: [UInt8]? { Identity(options).registeredExtended }

  private var extendedInquiryPage: DataInBytes {
    var data = Self.page(0x86, length: 60)
    // HEADSUP, ORDSUP, SIMPSUP: attributes that are accepted.
    data.put(UInt8(0x07), at: 5)
    // V_SUP: there may be a volatile cache.
    data.put(UInt8(0x01), at: 6)
    return data
  }

  private func characteristicsPage(_ isStrict: Bool) -> DataInBytes {
    var data = Self.page(0xB1, length: 60)
    if options.isSolidState { data.put(UInt16(1), at: 4) }
    // FUAB: FUA and SYNCHRONIZE CACHE are as SBC-3 has them.
    if isStrict { data.put(UInt8(0x02), at: 8) }
    return data
  }

  private func provisioningPage(_ isStrict: Bool) -> DataInBytes {
    var data = Self.page(0xB2, length: 4)
    // LBPU, LBPWS, LBPWS10, and LBPRZ: what is given back reads as zeros.
    if canUnmap { data.put(UInt8(0xE4), at: 5) }
    if isStrict {
      // Thin provisioning.
      if canUnmap { data.put(UInt8(2), at: 6) }
    } else {
      data.put(UInt8(canUnmap ? 0xE4 : 0x04), at: 5)
      data.append([UInt8](repeating: 0, count: 64 - data.count))
    }
    return data
  }

  private func blockLimitsPage(_ isStrict: Bool) -> DataInBytes {
    let blockSize = volume.geometry.logicalBlockSize
    let most = options.maximumTransferBlocks
    let granularity = max(options.unmapGranularityBlocks, isStrict ? 1 : most)
    var data = Self.page(0xB0, length: 60)
    // WSNZ: WRITE SAME of no blocks does not mean all blocks.
    data.put(UInt8(1), at: 4)
    data.put(maximumCompareBlocks, at: 5)
    data.put(most, at: 8)
    if isStrict {
      let optimum = UInt32(Limits.requestBytes / blockSize)
      data.put(UInt16(clamping: max(options.physicalBlockBytes / blockSize, 1)), at: 6)
      data.put(most == 0 ? optimum : min(most, optimum), at: 12)
    } else {
      data.put(most, at: 12)
    }
    if canUnmap {
      data.put(isStrict ? UInt32(Limits.unmapBlocks) : 32 << 20, at: 20)
      data.put(isStrict ? UInt32(Limits.unmapDescriptors) : 4, at: 24)
      data.put(granularity, at: 28)
      // UGAVALID: aligned from the first block on.
      data.put(UInt32(0x8000_0000), at: 32)
    }
    data.put(maximumWriteSameBlocks, at: 36)
    return data
  }
}
