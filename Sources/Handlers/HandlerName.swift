import BlockCore

/// The configuration of a backstore as configfs has it: `subtype/rest`.
public struct HandlerConfiguration: Sendable, Hashable {
  /// The handler's token.
  ///
  /// It is compared whole: `qc` is not `qcow`.
  public let subtype: String
  /// What the handler gets.
  public let rest: String

  /// Takes a configuration apart at its first `/`, byte by byte: what follows may begin with any character.
  ///
  /// - Throws: `invalidArgument` if there is none, or no valid subtype in front of it; `exhausted` if it is too long.
  public init(_ text: String) throws(BlockError) {
    guard text.utf8.count <= Limits.backstoreConfigBytes else {
      throw BlockError(
        .exhausted, step: "read", object: "a backstore's configuration",
        cause: "it has \(text.utf8.count) bytes, and \(Limits.backstoreConfigBytes) are allowed")
    }
    let parts = BackstoreConfiguration(text)
    guard let rest = parts.detail else {
      throw BlockError(
        .invalidArgument, step: "read the configuration", object: text, cause: "it has no `/`",
        remedy: "Write SUBTYPE/CONFIGURATION.")
    }
    subtype = parts.subtype
    self.rest = rest
    try HandlerName.check(subtype, of: "the configuration \(text)")
  }
}

/// Names of subtypes.
public enum HandlerName {
  /// Checks a subtype: letters, digits, `-`, `_` and `.`, 63 bytes at most.
  ///
  /// - Throws: `invalidArgument`.
  public static func check(_ subtype: String, of object: String) throws(BlockError) {
    let isValid =
      (1...Limits.handlerSubtypeBytes).contains(subtype.utf8.count)
      && subtype.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
          true
        default: false
        }
      }
    guard isValid else {
      throw BlockError(
        .invalidArgument, step: "read the subtype of", object: object,
        cause:
          "`\(subtype)` is not 1 to \(Limits.handlerSubtypeBytes) letters, digits, `-`, `_` and `.`")
    }
  }
}
