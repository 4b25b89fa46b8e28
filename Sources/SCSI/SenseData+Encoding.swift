import BlockCore

extension SenseData {
  /// Bytes of the sense buffer of a TCMU response.
  public static let bufferBytes = 96
  /// Bytes that ``encode(into:descriptorFormat:)`` needs at least.
  public static let leastBytes = 28

  /// Writes sense data as an initiator reads it, and zeros behind it.
  ///
  /// - Parameters:
  ///   - buffer: Where to; at least ``leastBytes``.
  ///   - descriptorFormat: Whether in descriptor format (SPC-4, 4.5.2) instead of fixed format (4.5.3); the D_SENSE
  ///     bit of the control mode page, ``LogicalUnit/usesDescriptorSense``.
  /// - Returns: How many bytes of it are sense data.
  @discardableResult
  public func encode(into buffer: inout MutableRawSpan, descriptorFormat: Bool) -> Int {
    precondition(buffer.byteCount >= Self.leastBytes, "a sense buffer of \(buffer.byteCount) bytes")
    buffer.zero()
    return descriptorFormat ? encodeDescriptors(into: &buffer) : encodeFixed(into: &buffer)
  }

  private func encodeFixed(into buffer: inout MutableRawSpan) -> Int {
    buffer.setBigEndian(UInt8(0x70), at: 0)
    // What does not fit into 4 bytes cannot be said in this format: VALID stays zero.
    if let information, let short = UInt32(exactly: information) {
      buffer.setBigEndian(UInt8(0xF0), at: 0)
      buffer.setBigEndian(short, at: 3)
    }
    buffer.setBigEndian(key & 0xF, at: 2)
    buffer.setBigEndian(UInt8(10), at: 7)
    buffer.setBigEndian(code, at: 12)
    buffer.setBigEndian(qualifier, at: 13)
    if let specific {
      buffer.setBigEndian(UInt8(truncatingIfNeeded: specific >> 16), at: 15)
      buffer.setBigEndian(UInt16(truncatingIfNeeded: specific), at: 16)
    }
    return 18
  }

  private func encodeDescriptors(into buffer: inout MutableRawSpan) -> Int {
    buffer.setBigEndian(UInt8(0x72), at: 0)
    buffer.setBigEndian(key & 0xF, at: 1)
    buffer.setBigEndian(code, at: 2)
    buffer.setBigEndian(qualifier, at: 3)
    var end = 8
    if let information {
      // Type 0, 10 bytes more, VALID.
      buffer.setBigEndian(UInt32(0x000A_8000), at: end)
      buffer.setBigEndian(information, at: end + 4)
      end += 12
    }
    if let specific {
      // Type 2, 6 bytes more.
      buffer.setBigEndian(UInt16(0x0206), at: end)
      buffer.setBigEndian(UInt8(truncatingIfNeeded: specific >> 16), at: end + 4)
      buffer.setBigEndian(UInt16(truncatingIfNeeded: specific), at: end + 5)
      end += 8
    }
    buffer.setBigEndian(UInt8(end - 8), at: 7)
    return end
  }
}
