import CISAL

/// The checksum of the overlaybd formats: CRC-32C as a bare register (specification, §1).
///
/// The Castagnoli polynomial, reflected, without the usual inversions before and after: what chaining the
/// processor's `crc32` instruction gives, and what ISA-L's function computes.
package enum Checksum {
  /// The register's start value for the checksum behind each ZFile block.
  package static let blockSeed: UInt32 = 100_007

  /// The register after some bytes.
  ///
  /// - Parameters:
  ///   - bytes: What to run through the register; less than 2 GiB.
  ///   - seed: What the register holds before.
  @inline(__always)
  static func register(over bytes: UnsafeRawBufferPointer, from seed: UInt32) -> UInt32 {
    guard let base = bytes.baseAddress else { return seed }
    // The C signature lacks a const; the function only reads.
    let start = UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self))
    return crc32_iscsi(start, CInt(bytes.count), seed)
  }

  /// The register after some bytes.
  package static func register(over bytes: RawSpan, from seed: UInt32) -> UInt32 {
    bytes.withUnsafeBytes { register(over: $0, from: seed) }
  }
}
