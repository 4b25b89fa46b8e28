import BlockCore
import LinuxIO

/// The words of a table or status line, taken one by one.
struct Fields {
  private let type: String
  private var rest: ArraySlice<Substring>

  init(_ text: String, of type: String) {
    self.type = type
    rest = text.split(separator: " ", omittingEmptySubsequences: true)[...]
  }

  var isEmpty: Bool { rest.isEmpty }

  /// The error of a line that is not as it ought to be.
  func reject(_ cause: String) -> BlockError {
    BlockError(
      .invalidArgument, step: "read the line of", object: "a target \(type.prefix(16))", cause: cause)
  }

  mutating func next(_ field: String) throws(BlockError) -> String {
    guard let word = rest.popFirst() else { throw reject("its \(field) is missing") }
    return String(word)
  }

  mutating func number(_ field: String) throws(BlockError) -> UInt64 {
    let word = try next(field)
    guard let number = Self.number(word) else {
      throw reject("its \(field) \"\(word.prefix(24))\" is no number")
    }
    return number
  }

  mutating func device(_ field: String) throws(BlockError) -> DeviceNumbers {
    let word = try next(field)
    guard let numbers = DeviceNumbers(word) else {
      throw reject("its \(field) \"\(word.prefix(24))\" is not MAJOR:MINOR")
    }
    return numbers
  }

  /// Two numbers with a slash: used and total.
  mutating func pair(_ field: String) throws(BlockError) -> Usage {
    let word = try next(field)
    let parts = word.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let used = Self.number(parts[0]), let total = Self.number(parts[1]) else {
      throw reject("its \(field) \"\(word.prefix(48))\" is not USED/TOTAL")
    }
    return Usage(used: used, total: total)
  }

  /// A count and as many words.
  mutating func features() throws(BlockError) -> [String] {
    let count = try number("number of features")
    guard count <= UInt64(rest.count) else {
      throw reject("it has fewer features than the \(count) it counts")
    }
    let words = rest.prefix(Int(count)).map(String.init)
    rest = rest.dropFirst(Int(count))
    return words
  }

  mutating func takeAll() -> [String] {
    defer { rest = [] }
    return rest.map(String.init)
  }

  func end() throws(BlockError) {
    guard let word = rest.first else { return }
    throw reject("\"\(word.prefix(24))\" follows where it should end")
  }

  /// Digits only: Swift would take a sign, too.
  private static func number(_ text: some StringProtocol) -> UInt64? {
    text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? UInt64(text) : nil
  }
}

/// How much of something is used.
public struct Usage: Sendable, Hashable {
  /// What is used.
  public var used: UInt64
  /// What there is.
  public var total: UInt64

  /// Makes a pair; the parameters are those of the properties.
  public init(used: UInt64, total: UInt64) {
    self.used = used
    self.total = total
  }

  /// The used part in percent, rounded down; 100 of nothing.
  public var percent: Int {
    total == 0 ? 100 : Int(Double(min(used, total)) / Double(total) * 100)
  }
}
