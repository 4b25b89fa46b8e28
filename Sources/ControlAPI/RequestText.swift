import BlockCore
import LinuxIO

/// Texts of a request, which are bytes until they have been found to be UTF-8.
enum RequestText {
  /// A parameter of a query, its escapes undone; `nil` if it is not there.
  ///
  /// - Parameters:
  ///   - name: The parameter's name.
  ///   - query: What follows the question mark, as it came.
  /// - Throws: `invalidArgument` for an escape that is none, and for bytes that are not UTF-8.
  static func parameter(_ name: String, of query: String) throws(BlockError) -> String? {
    for part in query.split(separator: "&") where part.hasPrefix("\(name)=") {
      let value = part.dropFirst(name.count + 1)
      guard let bytes = unescaped(value) else {
        throw BlockError(
          .invalidArgument, step: "read", object: "the request's query \(name)",
          cause: "a percent sign is not followed by two hexadecimal digits", remedy: "Write %25 for it.")
      }
      return try text(bytes)
    }
    return nil
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
