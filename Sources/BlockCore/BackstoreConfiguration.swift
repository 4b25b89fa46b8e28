/// The configuration of a TCM-USER backstore as configfs and the kernel's events have it: `SUBTYPE/DETAIL`.
///
/// It is cut byte by byte. A character of Swift's is no measure: a slash and a combining accent behind it are one.
public struct BackstoreConfiguration: Sendable, Hashable {
  /// What stands before the first slash, which says who serves it; all of it without one.
  public let subtype: String
  /// What the subtype makes of the rest; `nil` without a slash.
  public let detail: String?

  /// Cuts a configuration.
  public init(_ text: String) {
    (subtype, detail) = Self.cut(text, at: UInt8(ascii: "/"))
  }

  /// Cuts a text at a byte's first occurrence; without one, all of it is before.
  public static func cut(_ text: String, at byte: UInt8) -> (before: String, behind: String?) {
    guard let place = text.utf8.firstIndex(of: byte) else { return (text, nil) }
    return (String(text[..<place]), String(text[text.utf8.index(after: place)...]))
  }
}
