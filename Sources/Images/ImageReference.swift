import BlockCore
import SystemPackage

/// What a user calls an image: a path, or a scheme and a path.
public struct ImageReference: Sendable, Hashable, CustomStringConvertible {
  /// How the path is to be understood.
  public enum Scheme: String, Sendable, CaseIterable {
    /// An overlaybd image: a `config.v1.json`, or one layer by itself.
    case overlaybd
    /// A raw image: the file's bytes are the disk's.
    case raw
    /// The same for a file in another disk format, whose own bytes are meant.
    case rawBytes = "raw-bytes"

    /// Whether the file's bytes are the disk's.
    public var isRaw: Bool { self != .overlaybd }
  }

  /// How the path is to be understood; `nil` to recognise the format by its magic.
  public let scheme: Scheme?
  /// The path, absolute.
  public let path: String

  /// Makes a reference to a path.
  ///
  /// - Parameters:
  ///   - scheme: How it is to be understood.
  ///   - path: The path; a relative one counts from `directory`.
  ///   - directory: An absolute path.
  public init(_ scheme: Scheme?, _ path: String, relativeTo directory: String) {
    self.scheme = scheme
    self.path = Self.absolute(path, relativeTo: directory)
  }

  /// Reads a reference as a user writes it: `PATH`, `overlaybd:PATH`, `raw:PATH` or `raw-bytes:PATH`.
  ///
  /// - Parameters:
  ///   - text: What the user wrote.
  ///   - directory: What a relative path counts from; asked for if there is one, since there may be no directory.
  /// - Throws: `invalidArgument` for an empty path, `unsupported` for a scheme that is not known; what asking for the
  ///   directory throws.
  public init(
    _ text: String, relativeTo directory: @autoclosure () throws(BlockError) -> String
  ) throws(BlockError) {
    let (scheme, path) = try Self.parts(of: text)
    self.init(scheme, path, relativeTo: path.hasPrefix("/") ? "/" : try directory())
  }

  /// Reads a reference as a program writes it, who knows no directory that a path could count from.
  ///
  /// - Parameter text: As for a user, with a path from / on.
  /// - Throws: As for a user, and `invalidArgument` for a relative path.
  public init(absolute text: String) throws(BlockError) {
    let (scheme, path) = try Self.parts(of: text)
    guard path.hasPrefix("/") else {
      throw BlockError(
        .invalidArgument, step: "read the image reference", object: "\"\(text)\"",
        cause: "it is no absolute path of a file", remedy: "Write the path from / on.")
    }
    self.init(scheme, path, relativeTo: "/")
  }

  private static func parts(of text: String) throws(BlockError) -> (Scheme?, String) {
    var scheme: Scheme?
    var path = Substring(text)
    if let colon = text.firstIndex(of: ":"), Self.isScheme(text[..<colon]) {
      guard let known = Scheme(rawValue: String(text[..<colon])) else {
        let names = Scheme.allCases.map { "\($0.rawValue):PATH" }.joined(separator: ", ")
        throw BlockError(
          .unsupported, step: "read the image reference", object: text,
          cause: "the scheme \(text[..<colon]) is not known",
          remedy: "Known are \(names), and a path whose format shows in its first bytes; "
            + "for a path with a colon write ./PATH.")
      }
      scheme = known
      path = text[text.index(after: colon)...]
    }
    guard !path.isEmpty else {
      throw BlockError(
        .invalidArgument, step: "read the image reference", object: text.isEmpty ? "\"\"" : text,
        cause: "the path is empty", remedy: "Name a file.")
    }
    return (scheme, String(path))
  }

  /// What a URI's scheme looks like (RFC 3986, 3.1), in lower case.
  private static func isScheme(_ text: Substring) -> Bool {
    guard let first = text.first, first.isASCII, first.isLowercase else { return false }
    return text.allSatisfy { $0.isASCII && ($0.isLowercase || $0.isNumber || "+-.".contains($0)) }
  }

  /// A path made absolute.
  ///
  /// One with a NUL, behind which the system sees nothing, stays as it is and is nowhere to be found.
  static func absolute(_ path: String, relativeTo directory: String) -> String {
    if path.utf8.contains(0) { return path }
    return FilePath(directory).pushing(FilePath(path)).string
  }

  /// The reference as a user may write it.
  public var description: String {
    scheme.map { "\($0.rawValue):\(path)" } ?? path
  }
}
