import Attachments

/// How data servers are started: by which program, for which backstores.
public struct ServerLaunches: Sendable {
  /// A program and its arguments, to which the listening socket's are added.
  public struct Launch: Sendable, Hashable {
    /// The program's path.
    public var program: String
    /// Its arguments.
    public var arguments: [String]

    /// Makes a launch; the parameters are those of the properties.
    public init(program: String, arguments: [String]) {
      self.program = program
      self.arguments = arguments
    }
  }

  /// For everything that has no handler: `ashlard serve`.
  public var usual: Launch
  /// By the subtype of a backstore: a handler's.
  public var handlers: [String: Launch]

  /// Makes a set.
  ///
  /// - Parameters:
  ///   - program: The path of `ashlard`.
  ///   - handlers: By the subtype of a backstore: a handler's.
  public init(program: String, handlers: [String: Launch] = [:]) {
    usual = Launch(program: program, arguments: ["serve"])
    self.handlers = handlers
  }

  /// How the data server of an attachment is started.
  func launch(for spec: AttachmentSpec) -> Launch {
    guard let backstore = spec.backstore, backstore.role == .served else { return usual }
    return handlers[backstore.subtype] ?? usual
  }
}
