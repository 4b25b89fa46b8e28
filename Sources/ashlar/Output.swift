import Attachments
import BlockCore
import FoundationEssentials
import Glibc
import SystemPackage

/// Writing to the standard streams: results to one, everything else to the other.
enum Output {
  /// What lines for a human begin with: the name that the program was called by.
  static let program = isAttacher ? OverlaybdAttacher.name : "ashlar"

  /// Whether the program was called by the name of overlaybd's attacher.
  static var isAttacher: Bool {
    CommandLine.arguments.first?.split(separator: "/").last == Substring(OverlaybdAttacher.name)
  }

  /// A line of the result.
  static func line(_ text: String) {
    write(shown(text) + "\n", to: STDOUT_FILENO)
  }

  /// A line for a human beside the result; dropped if there is nobody to tell.
  static func note(_ text: String) {
    write(shown(text) + "\n", to: STDERR_FILENO)
  }

  /// A line for a human that says who speaks.
  static func say(_ text: String) { note("\(program): \(text)") }

  /// Text of our own that has lines, and nothing of others that is not escaped: help, JSON.
  static func page(_ text: String, isError: Bool) {
    write(text + "\n", to: isError ? STDERR_FILENO : STDOUT_FILENO)
  }

  /// A text as it can be shown: what an image or a path holds must not steer a terminal or feign lines.
  private static func shown(_ text: String) -> String {
    var shown = ""
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator:
        shown += "\\u{\(String(scalar.value, radix: 16))}"
      default: shown.unicodeScalars.append(scalar)
      }
    }
    return shown
  }

  /// A result for a machine.
  static func json(_ value: some Encodable) throws(BlockError) {
    page(try encoded(value), isError: false)
  }

  private static func encoded(_ value: some Encodable) throws(BlockError) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    do {
      // The encoder breaks the line inside an empty array.
      if let list = value as? any Collection, list.isEmpty { return "[]" }
      return String(decoding: try encoder.encode(value), as: UTF8.self)
    } catch {
      throw BlockError(.ioError, step: "encode", object: "the answer", cause: "\(error)")
    }
  }

  /// Says what went wrong and ends the process with status 1.
  static func fail(_ error: BlockError, isJSON: Bool) -> Never {
    say("\(error)")
    if isJSON {
      do {
        page(try encoded(ErrorReply(error)), isError: false)
      } catch {
        say("\(error)")
      }
    }
    exit(1)
  }

  private static func write(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      if count <= 0 {
        let code = Errno(rawValue: errno)
        // Beside the result, and there is no other place for it: it must not cost the result, nor what is still to do.
        if descriptor == STDERR_FILENO { return }
        giveUp(code)
      }
      rest = rest.dropFirst(count)
    }
  }

  /// Ends with status 1: what was done stays done, and the answer could not be given.
  private static func giveUp(_ code: Errno) -> Never {
    // Whoever reads no more has what he wanted.
    if code != .brokenPipe {
      say("\(BlockError(errno: code, step: "write the answer to", object: "standard output"))")
    }
    exit(1)
  }

  /// Columns under their headings.
  static func table(_ headings: [String], _ rows: [[String]]) {
    let rows = rows.map { $0.map(shown) }
    let widths = headings.indices.map { column in
      ([headings] + rows).map { $0[column].count }.max() ?? 0
    }
    for row in [headings] + rows {
      let cells = zip(row, widths).map { cell, width in
        cell + String(repeating: " ", count: width - cell.count)
      }
      let text = cells.joined(separator: "  ")
      line(String(text.reversed().drop { $0 == " " }.reversed()))
    }
  }

  /// A size as a human reads it, in powers of 1024.
  static func size(_ byteCount: UInt64) -> String {
    let units = ["B", "K", "M", "G", "T", "P"]
    var value = Double(byteCount)
    var unit = 0
    while value >= 1024 && unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    if value == value.rounded() { return "\(Int(value))\(units[unit])" }
    return "\((value * 10).rounded() / 10)\(units[unit])"
  }
}
