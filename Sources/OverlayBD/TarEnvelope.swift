import BlockCore

/// The one-entry tar around a layer blob (specification, §7).
public struct TarEnvelope: Sendable {
  private static let blockSize = 512

  /// The layer inside.
  public let payload: ByteWindow
  /// Where the payload begins, in bytes: 512, or 1536 behind a PAX header.
  public let payloadOffset: UInt64
  /// Whether the payload's length comes from a PAX record.
  public let hasPAXHeader: Bool

  /// Opens a source as a tar if it is one.
  ///
  /// - Parameters:
  ///   - source: The blob.
  ///   - workspace: The calling thread's own.
  /// - Returns: `nil` if the source does not begin with a tar header whose checksum is right. An envelope
  ///   that was never finished (magic `xxtar`) is no tar either.
  /// - Throws: `corrupt`, naming file, field and offset.
  public static func openIfPresent(
    _ source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> TarEnvelope? {
    guard source.byteCount >= UInt64(blockSize) else { return nil }
    let first = try await source.bytes(at: 0, byteCount: blockSize, using: workspace)
    guard isHeader(first.span.bytes) else { return nil }
    var size = try number(in: first.span.bytes, 124..<136, "tar size", at: 124, of: source.name)
    var offset = UInt64(blockSize)
    let hasPAXHeader = first[156] == UInt8(ascii: "x")
    if hasPAXHeader {
      guard size <= UInt64(Limits.paxHeaderBytes), offset + size <= source.byteCount else {
        throw .corrupt(
          file: source.name, field: "PAX header size", at: 124,
          "is \(size), more than \(Limits.paxHeaderBytes) or than the file has")
      }
      let records = try await source.bytes(at: offset, byteCount: Int(size), using: workspace)
      offset += (size + UInt64(blockSize) - 1) / UInt64(blockSize) * UInt64(blockSize)
      let recordedSize = try payloadSize(inPAX: records, of: source.name)
      guard offset + UInt64(blockSize) <= source.byteCount else {
        throw .corrupt(
          file: source.name, field: "tar header", at: offset, "is missing behind the PAX header")
      }
      // The second header's checksum is not looked at, as upstream does not: its size field is 0 anyway.
      let second = try await source.bytes(at: offset, byteCount: blockSize, using: workspace)
      size =
        if let recordedSize { recordedSize } else {
          try number(in: second.span.bytes, 124..<136, "tar size", at: offset + 124, of: source.name)
        }
      offset += UInt64(blockSize)
    }
    guard size <= source.byteCount - offset else {
      throw .corrupt(
        file: source.name, field: hasPAXHeader ? "PAX size record" : "tar size",
        at: hasPAXHeader ? UInt64(blockSize) : 124,
        "says \(size) bytes, and \(source.byteCount - offset) follow")
    }
    return TarEnvelope(
      payload: try ByteWindow(of: source, offset..<offset + size, name: "\(source.name) (in its tar)"),
      payloadOffset: offset,
      hasPAXHeader: hasPAXHeader)
  }

  /// Whether 512 bytes are a header of ours: `ustar`, version 00, and a checksum that is right in either
  /// of the two ways in which tars were ever summed.
  static func isHeader(_ block: RawSpan) -> Bool {
    guard block.holds(Array("ustar".utf8), at: 257), block.holds(Array("00".utf8), at: 263) else {
      return false
    }
    var unsigned: Int64 = 0
    var signed: Int64 = 0
    for position in 0..<blockSize {
      let isChecksum = (148..<156).contains(position)
      let byte = isChecksum ? UInt8(ascii: " ") : block.littleEndian(position)
      unsigned += Int64(byte)
      signed += Int64(Int8(bitPattern: byte))
    }
    guard let stored = octal(in: block, 148..<156) else { return false }
    return Int64(stored) == unsigned || Int64(clamping: stored) == signed
  }

  /// An octal field: digits between spaces and NULs.
  ///
  /// `nil` if something else stands there.
  private static func octal(in block: RawSpan, _ field: Range<Int>) -> UInt64? {
    var value: UInt64 = 0
    var hasDigits = false
    for position in field {
      switch block.littleEndian(position, as: UInt8.self) {
      case UInt8(ascii: " ") where !hasDigits: continue
      case UInt8(ascii: " "), 0: return hasDigits ? value : nil
      case let digit where (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit):
        hasDigits = true
        value = value << 3 | UInt64(digit - UInt8(ascii: "0"))
      default: return nil
      }
    }
    return hasDigits ? value : nil
  }

  /// A number field: octal, or GNU's base-256 for what needs more than eleven digits.
  private static func number(
    in block: RawSpan, _ field: Range<Int>, _ name: String, at position: UInt64, of file: String
  ) throws(BlockError) -> UInt64 {
    let first: UInt8 = block.littleEndian(field.lowerBound)
    if first == 0x80 {
      var value: UInt64 = 0
      for position in field.dropFirst() {
        guard value < 1 << 55 else { break }
        value = value << 8 | UInt64(block.littleEndian(position, as: UInt8.self))
      }
      return value
    }
    guard let value = octal(in: block, field) else {
      throw .corrupt(file: file, field: name, at: position, "is no number")
    }
    return value
  }

  /// The `size` record of a PAX header: `"<length> size=<value>\n"`.
  private static func payloadSize(inPAX records: [UInt8], of file: String) throws(BlockError) -> UInt64? {
    var rest = records[...]
    while let first = rest.first, first != 0 {
      let position = UInt64(blockSize + rest.startIndex)
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 1,
        length <= rest.count
      else {
        throw .corrupt(file: file, field: "PAX record", at: position, "has no sound length")
      }
      let record = rest.prefix(length).dropFirst(digits.count + 1).dropLast()
      rest = rest.dropFirst(length)
      guard record.starts(with: Array("size=".utf8)) else { continue }
      guard let size = UInt64(String(decoding: record.dropFirst(5), as: UTF8.self)) else {
        throw .corrupt(file: file, field: "PAX size record", at: position, "is no number")
      }
      return size
    }
    return nil
  }
}
