import FoundationEssentials

/// The files that the original tools made, in the repository's `fixtures` folder.
public enum Fixtures {
  /// The folder.
  public static let root: String = {
    var parts = #filePath.split(separator: "/").dropLast(3)
    parts.append("fixtures")
    return "/" + parts.joined(separator: "/")
  }()

  /// A file's absolute path.
  public static func path(_ name: String) -> String { "\(root)/\(name)" }

  /// A file's bytes.
  public static func bytes(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: path(name))))
  }

  /// A file's text.
  public static func text(_ name: String) throws -> String {
    String(decoding: try bytes(name), as: UTF8.self)
  }

  /// A table's rows, split at tabs, without comments and empty lines.
  public static func table(_ name: String) throws -> [[String]] {
    try text(name).split(separator: "\n").filter { !$0.hasPrefix("#") }
      .map { $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) }
  }
}
