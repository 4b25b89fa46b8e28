import Attachments
import BlockCore
import FoundationEssentials
import Hummingbird
import NIOCore
import Volumes

/// The body of a request: a JSON object that has these keys and no others.
///
/// A key that nobody knows is a mistake of whoever asks: what he wanted would be left undone without a word.
protocol JSONRequestBody: Decodable {
  associatedtype CodingKeys: CodingKey, CaseIterable
}

extension AttachRequest: JSONRequestBody {}
extension ResetRequest: JSONRequestBody {}
extension SandboxRequest: JSONRequestBody {}
extension SandboxTarget: JSONRequestBody {}
extension VolumeFormatRequest: JSONRequestBody {}
extension VolumeMapRequest: JSONRequestBody {}

extension JSONRequestBody {
  /// Reads a request's body.
  ///
  /// - Throws: `invalidArgument`, with the key that is wrong.
  static func read(_ request: Request) async throws(BlockError) -> Self {
    try decode(try await bytes(of: request))
  }

  private static func bytes(of request: Request) async throws(BlockError) -> Data {
    do {
      let bytes = try await request.body.collect(upTo: Limits.requestBodyBytes).readableBytesView
      _ = try RequestText.text(Array(bytes))
      return Data(bytes)
    } catch let error as BlockError {
      throw error
    } catch is NIOTooManyBytesError {
      throw refused("it has more than \(Limits.requestBodyBytes) bytes")
    } catch {
      throw refused("it did not come to its end: \(error)")
    }
  }

  private static func decode(_ bytes: Data) throws(BlockError) -> Self {
    do {
      let names = try JSONDecoder().decode([String: AnyValue].self, from: bytes).keys
      let known = CodingKeys.allCases.map(\.stringValue)
      if let stranger = Set(names).subtracting(known).min() {
        throw refused("the key \(stranger) is not known; known are \(known.joined(separator: ", "))")
      }
      if let key = JSONKeys.twice(in: Array(bytes)) { throw refused("the key \(key) is there twice") }
      return try JSONDecoder().decode(Self.self, from: bytes)
    } catch let error as DecodingError {
      throw refused(explain(error))
    } catch let error as BlockError {
      throw error
    } catch {
      throw refused("\(error)")
    }
  }

  private static func explain(_ error: DecodingError) -> String {
    func path(_ context: DecodingError.Context) -> String {
      context.codingPath.map(\.stringValue).joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, _): return "the key \(key.stringValue) is missing"
    case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
      return path(context).isEmpty
        ? "it is no JSON object" : "the value of \(path(context)) is no \(word(for: type))"
    case .dataCorrupted(let context):
      return path(context).isEmpty
        ? "it is no JSON" : "the value of \(path(context)) is none of those that it may have"
    @unknown default: return "\(error)"
    }
  }

  private static func word(for type: any Any.Type) -> String {
    switch type {
    case is String.Type: "string"
    case is Bool.Type: "true or false"
    case is any BinaryInteger.Type: "whole number"
    default: "\(type)"
    }
  }

  private static func refused(_ cause: String) -> BlockError {
    BlockError(
      .invalidArgument, step: "read", object: "the request's body", cause: cause,
      remedy: "See docs/api.md for what it must hold.")
  }
}

/// A JSON value that nobody looks at.
private struct AnyValue: Decodable {
  init(from decoder: any Decoder) {}
}
