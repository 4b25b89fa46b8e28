/// Explicit byte order for the fields of SCSI, which count from their most significant byte.
extension RawSpan {
  /// The big-endian integer at a byte offset.
  ///
  /// - Precondition: `offset` and the integer's size lie inside the span.
  @inlinable
  public func bigEndian<Value: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    precondition(offset >= 0 && offset <= byteCount - MemoryLayout<Value>.size, "field outside the bytes")
    return Value(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: Value.self))
  }
}

extension MutableRawSpan {
  /// Puts an integer at a byte offset, its most significant byte first.
  ///
  /// - Precondition: `offset` and the integer's size lie inside the span.
  @inlinable
  public mutating func setBigEndian<Value: FixedWidthInteger & BitwiseCopyable>(
    _ value: Value, at offset: Int
  ) {
    precondition(offset >= 0 && offset <= byteCount - MemoryLayout<Value>.size, "field outside the bytes")
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: Value.self)
  }
}
