/// The log of a manager that a command has started: what it and the Swift runtime write on standard error.
public enum ManagerLog {
  /// The line that says best why the manager has ended; `nil` for an empty log.
  ///
  /// That is the last one, but for a crash: behind its reason come a backtrace and the images in memory.
  public static func reason(in text: String) -> Substring? {
    let lines = text.split(separator: "\n")
    let own = lines.lastIndex { isOwn($0) }.map { $0 + 1 } ?? 0
    let rest = lines[own...]
    return rest.first { $0.contains("Fatal error: ") } ?? rest.first { $0.contains("Program crashed: ") }
      ?? rest.first { $0.hasPrefix("*** ") } ?? lines.last
  }

  /// Whether the manager has logged it: a time stands before all that it says.
  private static func isOwn(_ line: Substring) -> Bool {
    let date = line.utf8.prefix(5)
    return date.count == 5
      && date.prefix(4).allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      && date.last == UInt8(ascii: "-")
  }
}
