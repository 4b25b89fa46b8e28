import BlockCore

/// Sense data is what a command fails with.
extension SenseData: Error {
  /// 5/2000: a command that the logical unit does not know.
  static let invalidOperationCode = SenseData(0x5, 0x20, 0x00)
  /// 5/2100: blocks that are not there.
  static let outOfRange = SenseData(0x5, 0x21, 0x00)
  /// 5/2400: a CDB that cannot be right, without saying where.
  static let invalidFieldInCDB = SenseData(0x5, 0x24, 0x00)
  /// 5/1A00: a parameter list that ends too early.
  static let parameterListLength = SenseData(0x5, 0x1A, 0x00)
  /// 5/3900: saved values of mode parameters.
  static let savingNotSupported = SenseData(0x5, 0x39, 0x00)
  /// 7/2700: a read-only volume.
  static let writeProtected = SenseData(0x7, 0x27, 0x00)
  /// 7/2702: write-protected by the SWP bit of the control mode page.
  static let softwareWriteProtected = SenseData(0x7, 0x27, 0x02)
  /// 2/0402: stopped; START STOP UNIT is needed.
  static let stopped = SenseData(0x2, 0x04, 0x02)
  /// 6/2A09: the capacity has changed.
  static let capacityChanged = SenseData(0x6, 0x2A, 0x09)
  /// 3/3101: a FORMAT UNIT that went on after its answer has failed.
  static let formatFailed = SenseData(0x3, 0x31, 0x01)
  /// 4/3E03: the self-test found that the volume cannot be read.
  static let selfTestFailed = SenseData(0x4, 0x3E, 0x03)
  /// 0/0000: nothing to say.
  static let none = SenseData(0x0, 0x00, 0x00)

  /// 5/2400 with a field pointer: which byte of the CDB is wrong (SPC-4, 4.5.2.4.2).
  static func invalidField(_ byte: Int) -> SenseData {
    SenseData(0x5, 0x24, 0x00, specific: 0xC0_0000 | UInt32(byte & 0xFFFF))
  }

  /// 5/2600 with a field pointer: which byte of the parameter list is wrong.
  static func invalidParameter(_ byte: Int) -> SenseData {
    SenseData(0x5, 0x26, 0x00, specific: 0x80_0000 | UInt32(byte & 0xFFFF))
  }

  /// E/1D00: the bytes are others, the first one at this offset of the data-out buffer (SBC-3, 5.2).
  static func miscompare(at offset: Int) -> SenseData {
    SenseData(0xE, 0x1D, 0x00, information: UInt64(offset))
  }

  /// 2/0404: FORMAT UNIT has come so far, in parts of 65536.
  static func formatting(_ progress: UInt32) -> SenseData {
    SenseData(0x2, 0x04, 0x04, specific: 0x80_0000 | progress & 0xFFFF)
  }

  /// What an error of a volume looks like.
  ///
  /// There is no INFORMATION field, the address of the bad block, on purpose: an initiator takes what is in front
  /// of it for done, but data-in of a failed command is not transferred.
  ///
  /// - Parameters:
  ///   - error: The error.
  ///   - isWrite: Whether a change of the medium failed.
  public init(_ error: BlockError, isWrite: Bool) {
    let codes = error.kind.codes
    let sense = isWrite ? codes.writeSense : codes.sense
    self.init(sense.key, sense.code, sense.qualifier)
  }
}
