import BlockCore

/// The name of a handler: the part of a `dev_config` before its first slash.
///
/// It is an element of a D-Bus object path, so it has ASCII letters, digits and underscores only (D-Bus
/// Specification, "Valid Object Paths"), and at most ``Limits/handlerSubtypeBytes`` of them.
public struct HandlerSubtype: Sendable, Hashable, CustomStringConvertible {
  /// The name.
  public let description: String

  /// Takes a name.
  ///
  /// - Throws: `invalidArgument` if it cannot be one.
  public init(_ name: String) throws(BlockError) {
    func failure(_ cause: String) -> BlockError {
      BlockError(
        .invalidArgument, step: "take the handler", object: String(name.prefix(Limits.handlerSubtypeBytes)),
        cause: cause, remedy: "Use letters, digits and underscores, at most \(Limits.handlerSubtypeBytes).")
    }
    guard !name.isEmpty else { throw failure("its name is empty") }
    guard name.utf8.count <= Limits.handlerSubtypeBytes else {
      throw failure("its name has \(name.utf8.count) bytes")
    }
    let isElement = name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
    guard isElement else { throw failure("its name has a character that an object path cannot have") }
    guard name != ServiceNames.managerElement else { throw failure("that name is the service's own") }
    description = name
  }

  /// Whether it can be the last element of a bus name, which must not begin with a digit.
  var isBusNameElement: Bool { !(description.first?.isNumber ?? true) }
}

/// A handler as the service shows it to clients.
public struct HandlerDescription: Sendable, Hashable {
  /// Its name.
  public let subtype: HandlerSubtype
  /// What its configuration string is like, for a human: the property `ConfigDesc`.
  public let configDescription: String

  /// Takes a handler.
  ///
  /// - Parameters:
  ///   - subtype: Its name.
  ///   - configDescription: At most ``Limits.handlerSummaryBytes``, without NUL.
  /// - Throws: `invalidArgument` for a name or description that the bus cannot carry.
  public init(subtype: String, configDescription: String) throws(BlockError) {
    self.subtype = try HandlerSubtype(subtype)
    guard configDescription.utf8.count <= Limits.handlerSummaryBytes, !configDescription.utf8.contains(0)
    else {
      throw BlockError(
        .invalidArgument, step: "take the handler", object: subtype,
        cause: "its description holds a NUL or has more than \(Limits.handlerSummaryBytes) bytes")
    }
    self.configDescription = configDescription
  }
}

/// What a handler says of a configuration string: the answer of `CheckConfig`.
public struct ConfigCheck: Sendable, Hashable {
  /// Whether a device can be made of it.
  public let isValid: Bool
  /// Why not; `success` if it can.
  public let message: String

  /// A device can be made of it.
  public static let valid = ConfigCheck(isValid: true, message: "success")

  /// No device can be made of it; the reason is cut at ``Limits/handlerMessageBytes``.
  public static func invalid(_ reason: String) -> ConfigCheck { ConfigCheck(isValid: false, message: reason) }

  /// An answer as the bus can carry it.
  init(isValid: Bool, message: String) {
    self.isValid = isValid
    // Cut between characters, and at the NUL that a D-Bus string cannot hold.
    var text = ""
    var byteCount = 0
    for character in message {
      byteCount += character.utf8.count
      guard byteCount <= Limits.handlerMessageBytes, character != "\0" else { break }
      text.append(character)
    }
    self.message = text
  }
}

/// The names of the service on the bus, as tcmu-runner and targetcli have them.
enum ServiceNames {
  /// The service's own name, and the interface of its handlers.
  static let service = "org.kernel.TCMUService1"
  /// The object above the handlers' own.
  static let root = "/org/kernel/TCMUService1"
  /// The last element of the object that external handlers register with.
  static let managerElement = "HandlerManager1"
  /// The interface of that object, and what the names of external handlers begin with.
  static let manager = "\(service).\(managerElement)"
  /// That object.
  static let managerPath = "\(root)/\(managerElement)"

  /// A handler's object.
  static func path(of subtype: HandlerSubtype) -> String { "\(root)/\(subtype)" }
  /// The bus name of an external handler's process.
  static func externalName(of subtype: HandlerSubtype) -> String { "\(manager).\(subtype)" }
  /// The object that this process has for its handler.
  static func externalPath(of subtype: HandlerSubtype) -> String { "\(managerPath)/\(subtype)" }
}
