import BlockCore
import Logging

/// tcmu-runner's configuration file, `/etc/tcmu/tcmu.conf`: lines `key = value`, and comments that begin
/// with `#`.
///
/// What it does not understand it leaves out and says so: a daemon that serves disks does not end for a typing
/// error.
public struct TCMUConf: Sendable, Hashable {
  /// Where the file is.
  public static let usualPath = "/etc/tcmu/tcmu.conf"

  /// How much tcmu-runner logs: its `log_level`.
  public enum LogLevel: Int, Sendable, Hashable {
    /// CRIT.
    case critical = 0
    /// ERROR.
    case error = 1
    /// WARNING.
    case warning = 2
    /// INFO, its default.
    case info = 3
    /// DEBUG.
    case debug = 4
    /// DEBUG SCSI CMD: each command too.
    case commands = 5

    /// The level of our own log that it stands for.
    public var loggerLevel: Logger.Level {
      switch self {
      case .critical: .critical
      case .error: .error
      case .warning: .warning
      case .info: .info
      case .debug: .debug
      case .commands: .trace
      }
    }
  }

  /// `log_level`; `nil` if the file does not say.
  public var logLevel: LogLevel?
  /// `log_dir`, an absolute path; `nil` if the file does not say.
  public var logDirectory: String?
  /// What was left out, as sentences for the log.
  public var notices: [String] = []

  /// What holds without a file.
  public init() {}

  /// Reads a file's bytes.
  ///
  /// - Parameters:
  ///   - bytes: At most ``Limits/tcmuConfBytes``.
  ///   - path: The file's path, for errors.
  /// - Throws: `invalidArgument` for more.
  public init(_ bytes: [UInt8], path: String) throws(BlockError) {
    guard bytes.count <= Limits.tcmuConfBytes else {
      throw BlockError(
        .invalidArgument, step: "read", object: path,
        cause: "it has more than \(Limits.tcmuConfBytes) bytes",
        remedy: "Keep only the lines that set something.")
    }
    var names: [Substring] = []
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (number, line) in lines.enumerated() {
      let text = Self.trimmed(String(decoding: line, as: UTF8.self)[...])
      guard !text.isEmpty, !text.hasPrefix("#") else { continue }
      guard let sign = text.firstIndex(of: "=") else {
        note("line \(number + 1) is not of the form key = value")
        continue
      }
      let key = Self.trimmed(text[..<sign])
      if names.contains(key) { note("line \(number + 1) sets \(key) again; it holds") }
      set(key, Self.value(text[text.index(after: sign)...]), line: number + 1)
      if Self.known.contains(String(key)) { names.append(key) }
    }
  }

  private static let noticeLimit = 20

  /// Adds a notice; one for each line would be as long as the file.
  private mutating func note(_ notice: String) {
    if notices.count < Self.noticeLimit {
      notices.append(notice)
    } else if notices.count == Self.noticeLimit {
      notices.append("there is more like that")
    }
  }

  private static let known = ["log_level", "log_dir"]
  /// Bytes in a path, its NUL included: `PATH_MAX` of linux/limits.h.
  private static let pathBytes = 4096

  private mutating func set(_ key: Substring, _ value: Substring, line: Int) {
    switch key {
    case "log_level":
      guard let number = Int(value) else {
        note("line \(line): log_level must be a number from 0 to 5")
        return
      }
      // As tcmu-runner does.
      logLevel = LogLevel(rawValue: min(max(number, 0), 5))
      if logLevel?.rawValue != number { note("line \(line): log_level goes from 0 to 5") }
    case "log_dir":
      guard value.hasPrefix("/"), value.utf8.count < Self.pathBytes, !value.utf8.contains(0) else {
        note("line \(line): log_dir must be an absolute path")
        return
      }
      logDirectory = String(value)
    default:
      note("line \(line): the key \(String(key.prefix(64)).debugDescription) is not known")
    }
  }

  /// The value without quotes, or without a comment behind it.
  private static func value(_ text: Substring) -> Substring {
    let text = trimmed(text)
    if let quote = text.first, quote == "\"" || quote == "'", let end = text.dropFirst().firstIndex(of: quote)
    {
      return text[text.index(after: text.startIndex)..<end]
    }
    let comment = text.indices.first { index in
      text[index] == "#" && (index == text.startIndex || isBlank(text[text.index(before: index)]))
    }
    return trimmed(text[..<(comment ?? text.endIndex)])
  }

  private static func isBlank(_ character: Character) -> Bool {
    character == " " || character == "\t" || character == "\r"
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text.drop(while: isBlank)
    while let last = text.last, isBlank(last) { text.removeLast() }
    return text
  }
}
