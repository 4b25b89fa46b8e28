/// A flush of a file that failed: data that was acknowledged may be lost, and the kernel no longer knows which.
///
/// It is written down, so that a field that is added is optional.
public struct FlushFailure: Sendable, Hashable, Codable {
  /// The file's path.
  public var file: String
  /// When it failed: seconds since 1970-01-01 00:00:00 UTC.
  public var happenedAt: Double
  /// Why, in words.
  public var cause: String

  /// Makes a failure; the parameters are those of the properties.
  public init(file: String, happenedAt: Double, cause: String) {
    self.file = file
    self.happenedAt = happenedAt
    self.cause = cause
  }

  /// What every later flush of the file fails with, until somebody resets it.
  public var error: BlockError {
    BlockError(
      .ioError, step: "flush", object: file,
      cause: "an earlier flush failed (\(cause)), and the kernel no longer knows which data it lost",
      remedy: "Check the disk beneath it, and restore what is lost; then: ashlar reset ID --flush-error.")
  }
}
