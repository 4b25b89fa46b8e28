import BlockCore
import FoundationEssentials

/// An overlaybd image's configuration, `config.v1.json` (service specification, §3).
///
/// Unknown keys are ignored; a known key of the wrong type is an error that names it.
public struct ImageConfig: Sendable, Hashable {
  /// One read-only layer.
  public struct Lower: Sendable, Hashable {
    /// The local file; tried first.
    public var file = ""
    /// The directory that may hold the layer under one of the names of ``candidates``.
    public var dir = ""
    /// The blob's digest, for layers that are not local.
    public var digest = ""
    /// The blob's size in bytes.
    public var size: UInt64 = 0
    /// The local tar of a TurboOCI layer.
    public var targetFile = ""
    /// The digest of a TurboOCI layer's remote tar.
    public var targetDigest = ""
    /// The local gzip index of a TurboOCI layer's tar.gz.
    public var gzipIndex = ""

    /// The local files that may be the layer, as the configuration spells them, best first.
    public var candidates: [String] {
      // An empty `dir` names nothing; upstream would look for /overlaybd.commit then.
      let names = dir.isEmpty ? [] : ["overlaybd.commit", ".commit", "overlaybd.sealed"]
      return (file.isEmpty ? [] : [file]) + names.map { "\(dir)/\($0)" }
    }
  }

  /// The writable layer.
  public struct Upper: Sendable, Hashable {
    /// The index file.
    public var index = ""
    /// The data file.
    public var data = ""
    /// The tar, for a TurboOCI layer that is being built.
    public var target = ""
    /// The gzip index of that tar.
    public var gzipIndex = ""

    /// Whether there is a writable layer at all.
    public var isPresent: Bool { !index.isEmpty && !data.isEmpty }
  }

  /// The URL that blobs are found under.
  public var repoBlobUrl = ""
  /// The read-only layers, from the bottom up.
  public var lowers: [Lower] = []
  /// The writable layer.
  public var upper = Upper()
  /// Where the outcome of opening is written; empty for nowhere.
  public var resultFile = ""
  /// Whether the last of the lowers only holds a trace.
  public var accelerationLayer = false
  /// Where a trace is recorded to or replayed from.
  public var recordTracePath = ""

  /// Reads a configuration.
  ///
  /// - Parameters:
  ///   - bytes: The JSON text.
  ///   - path: The file's path, for errors.
  /// - Throws: `corrupt` for text that is no JSON, `invalidArgument` for a key of the wrong type.
  public init(json bytes: [UInt8], path: String) throws(BlockError) {
    try Self.checkText(bytes, path: path)
    do {
      self = try JSONDecoder().decode(ImageConfig.self, from: Data(bytes))
    } catch let error as DecodingError {
      throw Self.explain(error, path: path)
    } catch {
      throw BlockError(.corrupt, step: "read the image config", object: path, cause: "\(error)")
    }
  }

  /// Refuses bytes that are not UTF-8: a path in them would become another file's.
  static func checkText(_ bytes: [UInt8], path: String) throws(BlockError) {
    guard String(validating: bytes, as: UTF8.self) == nil else { return }
    throw BlockError(
      .corrupt, step: "read the image config", object: path, cause: "it is not UTF-8",
      remedy: "Write its paths in UTF-8, and give files that have another name a link.")
  }

  /// What the `resultFile` of a configuration is that cannot be read as a whole, if that much can be read.
  ///
  /// Upstream writes nothing then, and its users wait for a result in vain.
  static func resultFile(inJSON bytes: [UInt8]) -> String {
    struct Fragment: Decodable { var resultFile: String? }
    // That the configuration is bad is the caller's error already; here nothing more can be learnt.
    return (try? JSONDecoder().decode(Fragment.self, from: Data(bytes)))?.resultFile ?? ""
  }

  private static func explain(_ error: DecodingError, path: String) -> BlockError {
    func failure(_ kind: BlockError.Kind, _ cause: String, _ remedy: String) -> BlockError {
      BlockError(kind, step: "read the image config", object: path, cause: cause, remedy: remedy)
    }
    switch error {
    case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
      guard !context.codingPath.isEmpty else {
        return failure(.invalidArgument, "it is not a JSON object", "Begin it with { and end it with }.")
      }
      return failure(
        .invalidArgument, "key \(keyPath(context)) must be \(describe(type))", "Correct the key's value.")
    case .dataCorrupted(let context) where !context.codingPath.isEmpty:
      return failure(
        .invalidArgument, "key \(keyPath(context)) has a value that does not fit", "Correct the key's value.")
    default:
      return failure(.corrupt, "it is not JSON", "Check it with: python3 -m json.tool FILE.")
    }
  }

  /// A key's path as one would write it: `lowers[2].file`.
  private static func keyPath(_ context: DecodingError.Context) -> String {
    context.codingPath.reduce(into: "") { path, key in
      if let index = key.intValue {
        path += "[\(index)]"
      } else {
        path += path.isEmpty ? key.stringValue : ".\(key.stringValue)"
      }
    }
  }

  private static func describe(_ type: any Any.Type) -> String {
    switch type {
    case is String.Type: "a string"
    case is Bool.Type: "true or false"
    case is UInt64.Type, is Int64.Type, is Double.Type: "a whole number"
    case is [Any].Type, is any UnkeyedDecodingContainer.Type: "an array"
    default: "an object"
    }
  }
}

extension KeyedDecodingContainer {
  /// A whole number, with an error that names its key for any other; Foundation's own only says that the
  /// text is no JSON.
  fileprivate func wholeNumber<Value: FixedWidthInteger & Decodable>(
    _ type: Value.Type, forKey key: Key
  ) throws -> Value? {
    guard let value = try decodeIfPresent(Double.self, forKey: key) else { return nil }
    guard value == value.rounded(), value >= Double(Value.min), value <= Double(Value.max) else {
      throw DecodingError.typeMismatch(
        type, .init(codingPath: codingPath + [key], debugDescription: "\(value) is no whole number that fits")
      )
    }
    return try decode(type, forKey: key)
  }
}

extension ImageConfig: Decodable {
  private enum Key: String, CodingKey {
    case repoBlobUrl
    case lowers
    case upper
    case resultFile
    case download
    case accelerationLayer
    case recordTracePath
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    repoBlobUrl = try values.decodeIfPresent(String.self, forKey: .repoBlobUrl) ?? ""
    lowers = try values.decodeIfPresent([Lower].self, forKey: .lowers) ?? []
    upper = try values.decodeIfPresent(Upper.self, forKey: .upper) ?? Upper()
    resultFile = try values.decodeIfPresent(String.self, forKey: .resultFile) ?? ""
    accelerationLayer = try values.decodeIfPresent(Bool.self, forKey: .accelerationLayer) ?? false
    recordTracePath = try values.decodeIfPresent(String.self, forKey: .recordTracePath) ?? ""
    // Only checked: it steers the background download of remote layers.
    _ = try values.decodeIfPresent(Download.self, forKey: .download)
  }

  private struct Download: Decodable {
    private enum Key: String, CodingKey {
      case enable
      case delay
      case delayExtra
      case maxMBps
      case tryCnt
      case blockSize
    }

    init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: Key.self)
      _ = try values.decodeIfPresent(Bool.self, forKey: .enable)
      for key in [Key.delay, .delayExtra, .maxMBps, .tryCnt, .blockSize] {
        _ = try values.wholeNumber(Int64.self, forKey: key)
      }
    }
  }
}

extension ImageConfig.Lower: Decodable {
  private enum Key: String, CodingKey {
    case file
    case dir
    case digest
    case size
    case targetFile
    case targetDigest
    case gzipIndex
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    file = try values.decodeIfPresent(String.self, forKey: .file) ?? ""
    dir = try values.decodeIfPresent(String.self, forKey: .dir) ?? ""
    digest = try values.decodeIfPresent(String.self, forKey: .digest) ?? ""
    size = try values.wholeNumber(UInt64.self, forKey: .size) ?? 0
    targetFile = try values.decodeIfPresent(String.self, forKey: .targetFile) ?? ""
    targetDigest = try values.decodeIfPresent(String.self, forKey: .targetDigest) ?? ""
    gzipIndex = try values.decodeIfPresent(String.self, forKey: .gzipIndex) ?? ""
  }
}

extension ImageConfig.Upper: Decodable {
  private enum Key: String, CodingKey {
    case index
    case data
    case target
    case gzipIndex
    case vsize
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    index = try values.decodeIfPresent(String.self, forKey: .index) ?? ""
    data = try values.decodeIfPresent(String.self, forKey: .data) ?? ""
    target = try values.decodeIfPresent(String.self, forKey: .target) ?? ""
    gzipIndex = try values.decodeIfPresent(String.self, forKey: .gzipIndex) ?? ""
    // Written by the snapshotter and ignored by everybody; only its type is checked.
    _ = try values.wholeNumber(Int64.self, forKey: .vsize)
  }
}
