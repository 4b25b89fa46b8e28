/// What a handler says of itself to who has not loaded it.
public struct HandlerDescription: Sendable, Hashable, Codable {
  /// How a handler is built, and so how its process is started.
  public enum Kind: String, Sendable, Codable {
    /// A program of its own, which speaks a data server's language: a handler in Swift.
    case program
    /// A shared object with the interface of `ashlar_handler.h`.
    case library
    /// A shared object that was built for tcmu-runner 1.5.
    case tcmuRunner = "tcmu-runner"
  }

  /// The token in front of a configuration's first `/`.
  public var subtype: String
  /// What the configuration of a disk has to say.
  public var description: String
  /// How it is built.
  public var kind: Kind

  /// Makes a description; the parameters are those of the properties.
  public init(subtype: String, description: String, kind: Kind) {
    self.subtype = subtype
    self.description = description
    self.kind = kind
  }
}

/// A handler's answer about a configuration, to who has not loaded it.
public struct HandlerVerdict: Sendable, Hashable, Codable {
  /// Whether a disk of it may work.
  public var isValid: Bool
  /// Why not; `success` if it may.
  public var message: String

  /// Makes a verdict; the parameters are those of the properties.
  public init(isValid: Bool, message: String) {
    self.isValid = isValid
    self.message = message
  }
}
