import BlockCore

/// What a user calls a sandbox: part of the names of kernel devices and files.
public struct SandboxName: Sendable, Hashable, CustomStringConvertible {
  /// The text.
  public let text: String

  /// Checks a text.
  ///
  /// - Throws: `invalidArgument` unless it has 1 to 64 letters, digits, dots, dashes or underscores of ASCII, and
  ///   begins with a letter or digit.
  public init(_ text: String) throws(BlockError) {
    let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
    let capitals = UInt8(ascii: "A")...UInt8(ascii: "Z")
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    func isPlain(_ byte: UInt8) -> Bool {
      letters.contains(byte) || capitals.contains(byte) || digits.contains(byte)
    }
    let others: [UInt8] = [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_")]
    let bytes = Array(text.utf8)
    guard let first = bytes.first, bytes.count <= Limits.sandboxNameBytes, isPlain(first),
      bytes.allSatisfy({ isPlain($0) || others.contains($0) })
    else {
      let shown = text.unicodeScalars.prefix(80).map {
        $0.properties.generalCategory == .control ? "?" : "\($0)"
      }
      throw BlockError(
        .invalidArgument, step: "use the name", object: "\"\(shown.joined())\"",
        cause:
          "a sandbox's name has 1 to \(Limits.sandboxNameBytes) letters, digits, dots, dashes or underscores "
          + "and begins with a letter or digit")
    }
    self.text = text
  }

  public var description: String { text }
}
