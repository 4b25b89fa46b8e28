import BlockCore
import CCrypto

/// SHA-256 (FIPS 180-4), by OpenSSL's libcrypto, which knows what the processor can do.
public struct SHA256: ~Copyable {
  private let context: OpaquePointer

  /// Begins with no bytes.
  ///
  /// - Throws: `exhausted` without memory, `unavailable` if the library refuses the algorithm.
  public init() throws(BlockError) {
    guard let context = EVP_MD_CTX_new() else {
      throw BlockError(.exhausted, step: "begin", object: "a SHA-256 digest", cause: "there is no memory")
    }
    guard EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      EVP_MD_CTX_free(context)
      throw Self.refused
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  private static var refused: BlockError {
    BlockError(.unavailable, step: "compute", object: "a SHA-256 digest", cause: "libcrypto refuses it")
  }

  /// Takes more bytes.
  public mutating func update(_ bytes: RawSpan) throws(BlockError) {
    let context = self.context
    let isTaken = bytes.withUnsafeBytes { EVP_DigestUpdate(context, $0.baseAddress, $0.count) == 1 }
    guard isTaken else { throw Self.refused }
  }

  /// The digest of all bytes that were taken.
  public consuming func finish() throws(BlockError) -> Digest256 {
    var bytes = [UInt8](repeating: 0, count: Digest256.byteCount)
    guard EVP_DigestFinal_ex(context, &bytes, nil) == 1 else { throw Self.refused }
    return Digest256(bytes)
  }

  /// The digest of some bytes.
  public static func digest(of bytes: RawSpan) throws(BlockError) -> Digest256 {
    var hash = try SHA256()
    try hash.update(bytes)
    return try hash.finish()
  }
}

/// A SHA-256 digest: 32 bytes.
public struct Digest256: Sendable, Hashable, CustomStringConvertible {
  /// Bytes in a digest.
  public static let byteCount = 32
  /// The bytes.
  public let bytes: [UInt8]

  /// Makes a digest of 32 bytes.
  ///
  /// - Precondition: They are 32.
  public init(_ bytes: [UInt8]) {
    precondition(bytes.count == Self.byteCount, "no SHA-256 digest")
    self.bytes = bytes
  }

  /// Reads 64 hexadecimal digits, with or without `sha256:` in front; `nil` if the text is anything else.
  public init?(_ text: String) {
    let digits = Array((text.hasPrefix("sha256:") ? text.dropFirst(7) : text[...]).utf8)
    guard digits.count == 2 * Self.byteCount else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    self.bytes = bytes
  }

  private static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// 64 hexadecimal digits.
  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
