import BlockCore

/// Bytes in memory as a source; everything is served at once.
public final class MemorySource: ByteSource {
  private let bytes: [UInt8]
  public let name: String
  public var byteCount: UInt64 { UInt64(bytes.count) }

  /// Makes a source of some bytes.
  public init(_ bytes: [UInt8], name: String = "memory") {
    self.bytes = bytes
    self.name = name
  }

  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try checkRange(at: offset, byteCount: destination.byteCount)
    let start = Int(offset)
    destination.withUnsafeMutableBytes { target in
      bytes.withUnsafeBytes { source in
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[start..<start + target.count]))
      }
    }
    return .done
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    _ = try readNow(at: offset, into: &destination, using: workspace)
  }
}
