import BlockCore
import LinuxIO

/// Texts of a request, which are bytes until they have been found to be UTF-8.
enum RequestText {
  /// A part of a path or of a query, its escapes undone.
  ///
  /// - Parameters:
  ///   - text: The part, as it came.
  ///   - object: What errors call it.
  /// - Throws: `invalidArgument` for an escape that is none, and for bytes that are not UTF-8.
  static func unescaped(_ text: Substring, of object: String) throws(BlockError) -> String {
    guard let bytes = unescaped(text) else {
      throw BlockError(
        .invalidArgument, step: "read", object: object,
        cause: "a percent sign is not followed by two hexadecimal digits", remedy: "Write %25 for it.")
    }
    return try self.text(bytes)
  }

  /// Bytes as text.
  ///
  /// - Throws: `invalidArgument` if they are not UTF-8.
  static func text(_ bytes: [UInt8]) throws(BlockError) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw ProgramText.notUTF8(String(decoding: bytes.prefix(200), as: UTF8.self))
    }
    return text
  }

  private static func unescaped(_ text: Substring) -> [UInt8]? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      let digits = rest.prefix(2)
      guard digits.count == 2, digits.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return bytes
  }
}
