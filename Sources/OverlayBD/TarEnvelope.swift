import BlockCore

/// The tar around a layer blob (specification, §7).
public struct TarEnvelope: Sendable {
  private static let blockSize = 512

  /// The layer inside.
  public let payload: ByteWindow
  /// Where the payload begins, in bytes: 512, or 1536 behind a PAX header of upstream's.
  public let payloadOffset: UInt64
  /// Whether the payload's length comes from a PAX record.
  public let hasPAXHeader: Bool

  /// Opens a source as a tar if it is one: as overlaybd writes it, or GNU tar, busybox and others (POSIX ustar, GNU,
  /// PAX), with the layer as its first entry.
  ///
  /// - Parameters:
  ///   - source: The blob.
  ///   - workspace: The calling thread's own.
  /// - Returns: `nil` if the source does not begin with a tar header whose checksum is right. An envelope
  ///   that was never finished (magic `xxtar`) is no tar either.
  /// - Throws: `corrupt`, naming file, field and offset; `unsupported` for a tar of another kind.
  public static func openIfPresent(
    _ source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> TarEnvelope? {
    guard source.byteCount >= UInt64(blockSize) else { return nil }
    let first = try await source.bytes(at: 0, byteCount: blockSize, using: workspace)
    guard hasChecksum(first.span.bytes), !first.span.bytes.holds(unfinishedMagic, at: 257) else { return nil }
    guard hasMagic(first.span.bytes) else {
      throw anotherKind(source.name, "its header is neither POSIX ustar nor GNU's")
    }
    var reader = HeaderReader(source: source)
    // Other headers' checksums are not looked at, as upstream does not: it writes none.
    var header = first
    for _ in 0..<Limits.tarHeaders {
      if try await reader.isPayload(header, using: workspace) { return try reader.envelope }
      guard reader.offset + UInt64(blockSize) <= source.byteCount else {
        throw .corrupt(
          file: source.name, field: "tar header", at: reader.offset, "is missing behind the PAX header")
      }
      header = try await source.bytes(at: reader.offset, byteCount: blockSize, using: workspace)
    }
    throw anotherKind(source.name, "it has more than \(Limits.tarHeaders) headers in front of its first file")
  }

  /// What to say of a tar that no layer is in as we know it.
  public static func anotherKind(_ file: String, _ cause: String) -> BlockError {
    BlockError(
      .unsupported, step: "read", object: file, cause: "it is a tar of another kind: \(cause)",
      remedy: "A layer is the first file of a tar, or stands alone: take it out with tar and name that file.")
  }

  /// Going from header to header, up to the layer's own.
  private struct HeaderReader {
    let source: any ByteSource
    /// Where the next header stands, or what follows the last one.
    var offset: UInt64 = 0
    private var size: UInt64 = 0
    private var recordedSize: UInt64?
    private var hasPAXHeader = false

    init(source: any ByteSource) { self.source = source }

    /// Takes a header, and what belongs to it unless it is the layer's.
    mutating func isPayload(_ header: [UInt8], using workspace: Workspace) async throws(BlockError) -> Bool {
      let position = offset
      let type = header[156]
      offset += UInt64(blockSize)
      switch type {
      case UInt8(ascii: "0"), 0, UInt8(ascii: "7"):
        size =
          if let recordedSize { recordedSize } else {
            try number(in: header.span.bytes, 124..<136, "tar size", at: position + 124, of: source.name)
          }
        return true
      case UInt8(ascii: "x"), UInt8(ascii: "g"), UInt8(ascii: "L"), UInt8(ascii: "K"):
        let size = try number(
          in: header.span.bytes, 124..<136, "tar size", at: position + 124, of: source.name)
        guard size <= UInt64(Limits.paxHeaderBytes), offset + size <= source.byteCount else {
          throw .corrupt(
            file: source.name, field: "PAX header size", at: position + 124,
            "is \(size), more than \(Limits.paxHeaderBytes) or than the file has")
        }
        if type == UInt8(ascii: "x") {
          hasPAXHeader = true
          let records = try await source.bytes(at: offset, byteCount: Int(size), using: workspace)
          recordedSize = try payloadSize(inPAX: records, at: offset, of: source.name)
        }
        offset += (size + UInt64(blockSize) - 1) / UInt64(blockSize) * UInt64(blockSize)
        return false
      default:
        throw anotherKind(source.name, "its first entry is no file (type \(type))")
      }
    }

    /// The envelope, once the layer's header was taken.
    var envelope: TarEnvelope {
      get throws(BlockError) {
        guard offset <= source.byteCount, size <= source.byteCount - offset else {
          throw .corrupt(
            file: source.name, field: recordedSize == nil ? "tar size" : "PAX size record",
            at: recordedSize == nil ? offset - UInt64(blockSize) + 124 : UInt64(blockSize),
            "says \(size) bytes, and \(source.byteCount - min(offset, source.byteCount)) follow")
        }
        return TarEnvelope(
          payload: try ByteWindow(of: source, offset..<offset + size, name: "\(source.name) (in its tar)"),
          payloadOffset: offset, hasPAXHeader: hasPAXHeader)
      }
    }
  }

  private static let unfinishedMagic = Array("xxtar".utf8)

  /// POSIX's magic and version, or GNU's.
  private static func hasMagic(_ block: RawSpan) -> Bool {
    if block.holds(Array("ustar  \0".utf8), at: 257) { return true }
    return block.holds(Array("ustar".utf8), at: 257) && block.holds(Array("00".utf8), at: 263)
  }

  /// Whether 512 bytes have a checksum that is right in either of the two ways in which tars were ever summed.
  private static func hasChecksum(_ block: RawSpan) -> Bool {
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
  private static func payloadSize(
    inPAX records: [UInt8], at start: UInt64, of file: String
  ) throws(BlockError) -> UInt64? {
    var rest = records[...]
    var found: UInt64?
    while let first = rest.first, first != 0 {
      let position = start + UInt64(rest.startIndex)
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 1,
        length <= rest.count
      else {
        throw .corrupt(file: file, field: "PAX record", at: position, "has no sound length")
      }
      let record = rest.prefix(length).dropFirst(digits.count + 1).dropLast()
      rest = rest.dropFirst(length)
      if record.starts(with: Array("GNU.sparse.".utf8)) {
        throw anotherKind(file, "its first file is stored without its holes (GNU sparse)")
      }
      guard record.starts(with: Array("size=".utf8)), found == nil else { continue }
      guard let size = UInt64(String(decoding: record.dropFirst(5), as: UTF8.self)) else {
        throw .corrupt(file: file, field: "PAX size record", at: position, "is no number")
      }
      found = size
    }
    return found
  }
}
