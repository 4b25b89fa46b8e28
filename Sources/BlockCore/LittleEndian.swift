/// Explicit byte order for every on-disk field.
extension RawSpan {
  /// The little-endian integer at a byte offset.
  ///
  /// - Precondition: `offset` and the integer's size lie inside the span.
  @inlinable
  public func littleEndian<Value: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    precondition(offset >= 0 && offset <= byteCount - MemoryLayout<Value>.size, "field outside the bytes")
    return Value(littleEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: Value.self))
  }

  /// Whether the bytes at an offset are these.
  ///
  /// - Precondition: `offset` and the bytes' count lie inside the span.
  public func holds(_ expected: [UInt8], at offset: Int) -> Bool {
    for index in expected.indices {
      if littleEndian(offset + index, as: UInt8.self) != expected[index] { return false }
    }
    return true
  }

  /// The text of a fixed-size field up to its first NUL, invalid UTF-8 replaced.
  ///
  /// - Precondition: the range lies inside the span.
  public func text(_ range: Range<Int>) -> String {
    var bytes: [UInt8] = []
    for offset in range {
      let byte = littleEndian(offset, as: UInt8.self)
      if byte == 0 { break }
      bytes.append(byte)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension MutableRawSpan {
  /// Fills the span with zeros.
  @inlinable
  public mutating func zero() {
    withUnsafeMutableBytes { bytes in
      _ = bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }
  }
}
