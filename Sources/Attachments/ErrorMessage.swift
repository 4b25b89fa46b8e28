import BlockCore
import SystemPackage

/// A `BlockError` on its way from one process to another.
public struct ErrorMessage: Sendable, Hashable, Codable, Error {
  /// The stable class of the failure.
  public var kind: BlockError.Kind
  /// What was being done.
  public var step: String
  /// What it was done to.
  public var object: String
  /// Why it failed.
  public var cause: String
  /// What the user can do about it.
  public var remedy: String?
  /// The system call's error number, where one failed.
  public var errno: Int32?

  /// Packs an error.
  public init(_ error: BlockError) {
    kind = error.kind
    step = error.step
    object = error.object
    cause = error.cause
    remedy = error.remedy
    errno = error.errno?.rawValue
  }

  /// A kind that only a newer release knows is the most general one, and a part that is missing is empty.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    func text(_ key: CodingKeys) throws -> String {
      try container.decodeIfPresent(String.self, forKey: key) ?? ""
    }
    kind = BlockError.Kind(rawValue: try text(.kind)) ?? .ioError
    step = try text(.step)
    object = try text(.object)
    cause = try text(.cause)
    remedy = try container.decodeIfPresent(String.self, forKey: .remedy)
    errno = try container.decodeIfPresent(Int32.self, forKey: .errno)
  }

  /// Unpacks it.
  public var error: BlockError {
    BlockError(
      kind, step: step, object: object, cause: cause, remedy: remedy, errno: errno.map { Errno(rawValue: $0) }
    )
  }
}
