/// Files in which the outcome of an attach stands, as overlaybd writes them (service specification, §4.1).
public enum ResultFile {
  /// What one begins with.
  private static let words = ["success", "failed:"].map { Array($0.utf8) }

  /// Bytes at the beginning that tell whether a file is one.
  public static let markByteCount = 7

  /// Whether a file may be overwritten by the outcome of another attach: it is empty, or holds that of an earlier one.
  ///
  /// - Parameter beginning: Its first ``markByteCount`` bytes, or all that it has.
  public static func isOutcome(_ beginning: some Collection<UInt8>) -> Bool {
    beginning.isEmpty || words.contains { beginning.starts(with: $0) }
  }

  /// What is to be said of a file that holds something else.
  public static func notAnOutcome(_ path: String) -> BlockError {
    BlockError(
      .conflict, step: "write", object: path,
      cause: "it holds something else than the outcome of an attach (\"success\" or \"failed:…\")",
      remedy: "Remove it if nobody needs it, or name another file.")
  }
}
