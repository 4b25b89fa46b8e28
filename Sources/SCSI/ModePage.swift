import BlockCore

/// A mode page: what it says now and at first, and which bits MODE SELECT may change (SPC-4, 7.5; SBC-3, 6.5).
struct ModePage {
  let code: UInt8
  let subpage: UInt8
  /// All of the page, with its header.
  let current: [UInt8]
  let standard: [UInt8]
  let changeable: [UInt8]

  /// Bytes in front of the parameters: 2, or 4 in a subpage.
  private var headerCount: Int { subpage == 0 ? 2 : 4 }

  /// Makes a page.
  ///
  /// - Parameters:
  ///   - code: The page code.
  ///   - subpage: The subpage code.
  ///   - count: Bytes behind the header.
  ///   - bits: What is not zero: an offset in the page, and what stands there now, at first, and may be changed.
  init(
    _ code: UInt8, _ subpage: UInt8 = 0, count: Int,
    _ bits: [(offset: Int, current: UInt8, standard: UInt8, changeable: UInt8)] = []
  ) {
    self.code = code
    self.subpage = subpage
    let header: [UInt8] =
      subpage == 0
      ? [code, UInt8(count)] : [code | 0x40, subpage, UInt8(count >> 8), UInt8(count & 0xFF)]
    let blank = header + [UInt8](repeating: 0, count: count)
    var (current, standard, changeable) = (blank, blank, blank)
    for bit in bits {
      current[bit.offset] = bit.current
      standard[bit.offset] = bit.standard
      changeable[bit.offset] = bit.changeable
    }
    self.current = current
    self.standard = standard
    self.changeable = changeable
  }

  /// Which byte of some wanted page differs from this one where nothing may be changed; `nil` if none does.
  ///
  /// - Precondition: `wanted` is as long as the page, and has its header.
  func refusedByte(_ wanted: ArraySlice<UInt8>) -> Int? {
    (headerCount..<current.count).first { index in
      (wanted[wanted.startIndex + index] ^ current[index]) & ~changeable[index] != 0
    }
  }
}

extension LogicalUnit {
  /// All mode pages, in the order of their codes.
  var modePages: [ModePage] {
    let now = conditions.now
    let isReadOnly = volume.geometry.isReadOnly
    let cache: UInt8 = now.contains(.writeThrough) ? 0 : 0x04
    let control: UInt8 = 0x02 | (now.contains(.descriptorSense) ? 0x04 : 0)
    let protect: UInt8 = now.contains(.softwareWriteProtect) ? 0x08 : 0
    return [
      // Read-write error recovery; disconnect-reconnect.
      ModePage(0x01, count: 10),
      ModePage(0x02, count: 14),
      // Caching: WCE.
      ModePage(0x08, count: 18, [(2, cache, options.hasWriteCache ? 0x04 : 0, isReadOnly ? 0 : 0x04)]),
      // Control: D_SENSE and GLTSD; commands may be reordered; SWP; TAS; any time may be spent busy.
      ModePage(
        0x0A, count: 10,
        [
          (2, control, 0x02, 0x04), (3, 0x10, 0x10, 0), (4, protect, 0, isReadOnly ? 0 : 0x08),
          (5, 0x40, 0x40, 0), (8, 0xFF, 0xFF, 0), (9, 0xFF, 0xFF, 0),
        ]),
      // Control extension.
      ModePage(0x0A, 0x01, count: 28),
      // Informational exceptions: DEXCPT, none are reported.
      ModePage(0x1C, count: 10, [(2, 0x08, 0x08, 0)]),
    ]
  }
}
