import BlockCore

extension CommandBlock {
  /// Makes a block of bytes; those behind ``capacity`` are left out.
  public init(_ bytes: some Collection<UInt8>) {
    self.init()
    for (index, byte) in bytes.prefix(Self.capacity).enumerated() { self.bytes[index] = byte }
    count = min(bytes.count, Self.capacity)
  }

  /// The byte at an offset.
  func uint8(_ offset: Int) -> UInt8 { bytes[offset] }
  /// The 2 bytes at an offset.
  func uint16(_ offset: Int) -> UInt16 { bytes.span.bytes.bigEndian(offset) }
  /// The 4 bytes at an offset.
  func uint32(_ offset: Int) -> UInt32 { bytes.span.bytes.bigEndian(offset) }
  /// The 8 bytes at an offset.
  func uint64(_ offset: Int) -> UInt64 { bytes.span.bytes.bigEndian(offset) }
  /// The 3 bytes at an offset.
  func uint24(_ offset: Int) -> UInt32 { UInt32(uint8(offset)) << 16 | UInt32(uint16(offset + 1)) }

  /// Whether any of some bits of a byte is set.
  func hasBits(_ mask: UInt8, at offset: Int) -> Bool { bytes[offset] & mask != 0 }
}
