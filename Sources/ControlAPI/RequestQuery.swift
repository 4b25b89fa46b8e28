import BlockCore
import Hummingbird

/// The query of a request: the keys that its route takes, each at most once, and no others.
///
/// As with bodies, a key or a value that nobody knows is a mistake of whoever asks: what he wanted would be left undone
/// without a word.
struct RequestQuery: Sendable {
  private var values: [String: String] = [:]

  /// Reads a request's query.
  ///
  /// - Throws: `invalidArgument`, with the key that is not known, is there twice, or has a value that is no text.
  init(_ request: Request, taking keys: [String]) throws(BlockError) {
    try self.init(request.uri.query ?? "", taking: keys)
  }

  /// Reads what follows the question mark, as it came.
  init(_ query: String, taking keys: [String]) throws(BlockError) {
    for part in query.split(separator: "&") {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let key = try RequestText.unescaped(pair[0], of: "the request's query")
      guard keys.contains(key) else {
        let known = keys.isEmpty ? "none is" : "known are \(keys.joined(separator: ", "))"
        throw Self.refused(key, "it is not known here; \(known)")
      }
      guard values[key] == nil else { throw Self.refused(key, "it is there twice", "Name it once.") }
      values[key] = try RequestText.unescaped(pair.count > 1 ? pair[1] : "", of: "the request's query \(key)")
    }
  }

  /// What is true or false; `false` if it is not there.
  func flag(_ key: String) throws(BlockError) -> Bool {
    switch values[key] {
    case nil, "false": return false
    case "true": return true
    case let value?:
      throw Self.refused(key, "its value \"\(value)\" is neither true nor false", "Write \(key)=true.")
    }
  }

  /// A whole number from 0 on; `nil` if it is not there.
  func number(_ key: String) throws(BlockError) -> UInt64? {
    guard let value = values[key] else { return nil }
    guard !value.isEmpty, value.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
      let number = UInt64(value)
    else { throw Self.refused(key, "its value \"\(value)\" is no whole number from 0 on") }
    return number
  }

  /// An absolute path, which has to be there.
  func path(_ key: String) throws(BlockError) -> String {
    guard let path = values[key] else {
      throw Self.refused(key, "the request has no query \(key)=PATH")
    }
    guard path.hasPrefix("/") else {
      throw BlockError(
        .invalidArgument, step: "read", object: "\"\(path)\"", cause: "it is no absolute path of a file",
        remedy: "Write the path from / on.")
    }
    return path
  }

  private static func refused(_ key: String, _ cause: String, _ remedy: String? = nil) -> BlockError {
    BlockError(
      .invalidArgument, step: "read", object: "the request's query \(key.isEmpty ? "\"\"" : key)",
      cause: cause,
      remedy: remedy ?? "See docs/api.md.")
  }
}
