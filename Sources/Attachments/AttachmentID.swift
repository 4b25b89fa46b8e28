import BlockCore
import FoundationEssentials

/// What a user calls an attachment.
///
/// It becomes part of paths and of kernel names, so that it may hold anything but what would break those.
/// A transport may know tighter limits of its own.
public struct AttachmentID: Sendable, Hashable, CustomStringConvertible {
  /// The text.
  public let text: String

  /// Checks a text.
  ///
  /// - Parameters:
  ///   - text: The text.
  ///   - limit: Bytes that it may have: fewer where a transport takes no more.
  /// - Throws: `invalidArgument`, saying which rule it breaks.
  public init(_ text: String, atMost limit: Int = Limits.attachmentIDBytes) throws(BlockError) {
    func reject(_ cause: String) -> BlockError {
      // What is shown must not carry control characters to a terminal.
      let shown = text.unicodeScalars.map { Self.isInvisible($0) ? "?" : String($0) }.joined().prefix(80)
      return BlockError(
        .invalidArgument, step: "use the ID", object: "\"\(shown)\"", cause: cause,
        remedy: "Use 1 to \(limit) bytes without slashes, spaces and characters that are not seen.")
    }
    guard !text.isEmpty else { throw reject("it is empty") }
    guard text.utf8.count <= limit else {
      throw reject("it has \(text.utf8.count) bytes, and \(limit) are allowed")
    }
    for scalar in text.unicodeScalars {
      if scalar == "/" { throw reject("it holds a slash") }
      if scalar.properties.isWhitespace { throw reject("it holds a space") }
      if scalar.properties.generalCategory == .control { throw reject("it holds a control character") }
      if Self.isInvisible(scalar) {
        throw reject("it holds U+\(String(scalar.value, radix: 16, uppercase: true)), which is not seen")
      }
    }
    guard text != ".", text != ".." else { throw reject("it is the name of a directory") }
    self.text = text
  }

  public var description: String { text }

  /// Whether a character shows nothing, or changes how others are shown: as those that turn the direction of writing.
  private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
    default: scalar.properties.isDefaultIgnorableCodePoint
    }
  }

  /// By their bytes, as file names are; to Swift, texts that look the same are equal.
  public static func == (one: AttachmentID, other: AttachmentID) -> Bool {
    one.text.utf8.elementsEqual(other.text.utf8)
  }

  public func hash(into hasher: inout Hasher) {
    for byte in text.utf8 { hasher.combine(byte) }
  }
}

extension AttachmentID: Codable {
  public init(from decoder: any Decoder) throws {
    self = try AttachmentID(try decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}

extension AttachmentID {
  /// The ID as one component of a URL's path.
  public var escapedInURL: String {
    var components = URLComponents()
    components.path = "/\(text)"
    return String(components.percentEncodedPath.dropFirst())
  }
}
