import BlockCore
import FoundationEssentials

/// What manager and data server have agreed on about their messages.
///
/// Data servers live for months, so that either side may be of another release than the other. A message is a JSON
/// object with one key, its kind, whose value is an object: `_0` is what the kind carries, and `request` the number of
/// the request that it is or answers. Whatever else stands there, and whatever kind is not known, is ignored.
public enum WireProtocol {
  /// The version that this release speaks.
  ///
  /// 1 had neither versions nor request numbers, and ended the connection at a kind that it did not know.
  public static let version = 2
}

/// The key of a kind, or of a field of a message's body.
public struct WireKey: CodingKey {
  /// The key itself.
  public let stringValue: String
  /// None: the keys of messages are words.
  public var intValue: Int? { nil }

  /// A key of that word.
  public init(stringValue: String) { self.stringValue = stringValue }

  /// No key.
  public init?(intValue: Int) { nil }

  /// What a kind carries.
  static let content = WireKey(stringValue: "_0")
  /// The number of the request that a message is or answers.
  static let request = WireKey(stringValue: "request")
}

/// A message of one side.
public protocol WireMessage: Sendable {
  /// What it is called on the wire.
  var kind: String { get }

  /// Writes what it carries, if anything.
  func encodeContent(into body: inout KeyedEncodingContainer<WireKey>) throws

  /// Reads a message; `nil` for a kind that is not known.
  init?(kind: String, _ body: KeyedDecodingContainer<WireKey>) throws
}

/// A message as it came.
public enum Incoming<Message: WireMessage>: Sendable {
  /// One that is understood, with the number of its request if it has one.
  case message(Message, request: UInt64?)
  /// One of a kind that is not known, or that does not hold what its kind is to hold.
  case notUnderstood(kind: String, request: UInt64?, reason: String)
}

private struct Outgoing<Message: WireMessage>: Encodable {
  let message: Message
  let request: UInt64?

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: WireKey.self)
    var body = container.nestedContainer(keyedBy: WireKey.self, forKey: WireKey(stringValue: message.kind))
    try message.encodeContent(into: &body)
    try body.encodeIfPresent(request, forKey: .request)
  }
}

extension Incoming: Decodable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: WireKey.self)
    var unknown: (kind: String, request: UInt64?, reason: String)?
    for key in container.allKeys {
      var request: UInt64?
      do {
        let body = try container.nestedContainer(keyedBy: WireKey.self, forKey: key)
        request = try body.decodeIfPresent(UInt64.self, forKey: .request)
        if let message = try Message(kind: key.stringValue, body) {
          self = .message(message, request: request)
          return
        }
        unknown = unknown ?? (key.stringValue, request, "this release does not know it")
      } catch {
        unknown = (key.stringValue, request, "\(error)")
      }
    }
    let found = unknown ?? ("", nil, "it has no kind")
    self = .notUnderstood(kind: found.kind, request: found.request, reason: found.reason)
  }

  /// Reads a message; bytes that are none are one that is not understood.
  public init(_ bytes: [UInt8]) {
    do {
      self = try JSONDecoder().decode(Self.self, from: Data(bytes))
    } catch {
      self = .notUnderstood(kind: "", request: nil, reason: "\(error)")
    }
  }
}

extension WireMessage {
  /// The message's bytes.
  ///
  /// - Parameter request: The number of the request that it is or answers.
  /// - Throws: `ioError` for what JSON cannot hold.
  public func encoded(request: UInt64? = nil) throws(BlockError) -> [UInt8] {
    try encodeMessage(Outgoing(message: self, request: request))
  }
}
