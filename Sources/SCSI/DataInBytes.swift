import BlockCore

/// What a command returns, while it is put together.
struct DataInBytes {
  private(set) var bytes: [UInt8]

  /// Begins with so many zeros.
  init(count: Int = 0) { bytes = [UInt8](repeating: 0, count: count) }

  /// Begins with some bytes.
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var count: Int { bytes.count }

  /// Puts an integer at an offset, its most significant byte first.
  mutating func put<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, at offset: Int) {
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    raw.setBigEndian(value, at: offset)
  }

  /// Adds an integer at the end.
  mutating func append<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) {
    withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
  }

  /// Adds bytes at the end.
  mutating func append(_ other: some Sequence<UInt8>) { bytes.append(contentsOf: other) }

  /// Adds a text, cut or filled up with blanks to so many bytes; what is not ASCII becomes a question mark.
  mutating func append(_ text: String, count: Int) {
    let ascii = text.utf8.prefix(count).map { (0x20...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }
    bytes.append(contentsOf: ascii)
    bytes.append(contentsOf: repeatElement(0x20, count: count - ascii.count))
  }

  /// Gives the bytes to the initiator: as many as it wants and has room for (SPC-4, 4.2.5.6).
  func answer(_ command: Command, allocationLength: Int) -> CommandResult {
    let count = min(bytes.count, allocationLength, command.data.byteCount)
    var cursor = PieceCursor(command.data)
    bytes.withUnsafeBytes { cursor.write(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    return CommandResult(.good, dataInCount: count < command.data.byteCount ? count : nil)
  }
}
