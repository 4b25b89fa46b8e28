import SystemPackage

/// The one error of the engine: what was being done, to what, why it failed, and what to do about it.
///
/// Every layer of the engine throws this type and adds nothing to it on the way up, so that the text a
/// user reads and the code a guest receives come from the place that knew. ``Kind`` is the stable part:
/// programs decide by it, never by the texts. How each kind looks to a kernel interface stands in one
/// table, ``Kind/codes``.
public struct BlockError: Error, Sendable {
  private let context: Context

  /// Kept behind one reference, so that a throwing function on the hot path returns one word.
  private final class Context: Sendable {
    let kind: Kind
    let step: String
    let object: String
    let cause: String
    let remedy: String?
    let errno: Errno?

    init(kind: Kind, step: String, object: String, cause: String, remedy: String?, errno: Errno?) {
      self.kind = kind
      self.step = step
      self.object = object
      self.cause = cause
      self.remedy = remedy
      self.errno = errno
    }
  }

  /// Makes an error from its parts.
  ///
  /// - Parameters:
  ///   - kind: The stable class of the failure.
  ///   - step: What was being done, as a verb phrase: `open layer`.
  ///   - object: What it was done to: a path, a device, an ID.
  ///   - cause: Why it failed, with field and offset where bytes are at fault.
  ///   - remedy: What the user can do about it, as a sentence; `nil` where nothing is known to help.
  ///   - errno: The system call's error number, where one failed.
  public init(
    _ kind: Kind, step: String, object: String, cause: String, remedy: String? = nil,
    errno: Errno? = nil
  ) {
    context = Context(
      kind: kind, step: step, object: object, cause: cause, remedy: remedy, errno: errno)
  }

  /// Makes an error from a failed system call; kind and remedy follow from its error number.
  public init(errno: Errno, step: String, object: String, remedy: String? = nil) {
    let kind = Kind(errno: errno)
    self.init(
      kind, step: step, object: object, cause: errno.description,
      remedy: remedy ?? Self.usualRemedy(for: errno) ?? kind.usualRemedy, errno: errno)
  }

  /// The stable class of the failure.
  public var kind: Kind { context.kind }
  /// What was being done.
  public var step: String { context.step }
  /// What it was done to.
  public var object: String { context.object }
  /// Why it failed.
  public var cause: String { context.cause }
  /// What the user can do about it.
  public var remedy: String? { context.remedy }
  /// The system call's error number, where one failed.
  public var errno: Errno? { context.errno }

  /// The same failure, with the step of the caller before the step that failed.
  public func during(_ outer: String) -> BlockError {
    BlockError(
      kind, step: "\(outer): \(step)", object: object, cause: cause, remedy: remedy, errno: errno)
  }
}

extension BlockError {
  /// The same failure, and that something went wrong while it was dealt with.
  ///
  /// - Parameters:
  ///   - further: What went wrong then.
  ///   - step: What was being done, as a phrase: `removing the temporary file`.
  public func aggravated(by further: BlockError, while step: String) -> BlockError {
    BlockError(
      kind, step: self.step, object: object,
      cause: "\(cause); and \(step) failed: \(further.object): \(further.cause)", remedy: remedy, errno: errno
    )
  }
}

extension BlockError: CustomStringConvertible {
  /// One paragraph: step, object, cause, remedy.
  public var description: String {
    let sentence = "cannot \(step) \(object): \(cause)."
    return remedy.map { "\(sentence) \($0)" } ?? sentence
  }
}

extension BlockError: Equatable {
  /// Two errors are equal if they say the same.
  public static func == (left: BlockError, right: BlockError) -> Bool {
    left.kind == right.kind && left.description == right.description
  }
}

extension BlockError {
  /// Bytes of a file that contradict its format.
  ///
  /// - Parameters:
  ///   - file: The file's path.
  ///   - field: The field at fault, as the format's specification names it.
  ///   - offset: Where the field stands in the file, in bytes.
  ///   - problem: What is wrong with it.
  public static func corrupt(
    file: String, field: String, at offset: UInt64, _ problem: String
  ) -> BlockError {
    BlockError(
      .corrupt, step: "read", object: file, cause: "\(field) at byte \(offset) \(problem)",
      remedy: "The file is damaged or not what it is taken for; fetch or build it again.")
  }

  /// A file that is shorter than its format can be.
  ///
  /// - Parameters:
  ///   - file: The file's path.
  ///   - byteCount: Its length in bytes.
  ///   - content: What has no room in it.
  public static func corrupt(
    tooShort file: String, byteCount: UInt64, _ content: String
  ) -> BlockError {
    BlockError(
      .corrupt, step: "read", object: file, cause: "it ends at byte \(byteCount), too early for \(content)",
      remedy: "The file is damaged or not what it is taken for; fetch or build it again.")
  }

  /// A file that says it is something this engine does not know.
  public static func unsupported(
    file: String, field: String, at offset: UInt64, _ problem: String
  ) -> BlockError {
    BlockError(
      .unsupported, step: "read", object: file, cause: "\(field) at byte \(offset) \(problem)",
      remedy: "It was made by a newer or another tool; convert it with that tool.")
  }
}
