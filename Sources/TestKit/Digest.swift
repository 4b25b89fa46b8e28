import BlockCore
import Foundation

/// SHA-256 by the system's `sha256sum`, which knows nothing of us.
public enum Digest {
  /// The digest of a whole disk, in hexadecimal, read in 1 MiB steps.
  public static func sha256(of volume: any Volume) async throws -> String {
    try await sha256(byteCount: volume.geometry.byteCount) { offset, span, workspace in
      try await volume.perform(
        BlockRequest(.read, at: offset, byteCount: UInt64(span.byteCount)), data: &span, using: workspace)
    }
  }

  /// The digest of a source, in hexadecimal.
  public static func sha256(of source: any ByteSource) async throws -> String {
    try await sha256(byteCount: source.byteCount) { offset, span, workspace in
      try await source.readAnyhow(at: offset, into: &span, using: workspace)
    }
  }

  private static func sha256(
    byteCount: UInt64, _ read: (UInt64, inout MutableRawSpan, Workspace) async throws -> Void
  ) async throws -> String {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/sha256sum")
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    let workspace = Workspace()
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var offset: UInt64 = 0
    while offset < byteCount {
      let count = Int(min(UInt64(buffer.count), byteCount - offset))
      do {
        var span = buffer.mutableSpan
        var bytes = span.mutableBytes
        var part = bytes._mutatingExtracting(0..<count)
        try await read(offset, &part, workspace)
      }
      try input.fileHandleForWriting.write(contentsOf: buffer[..<count])
      offset += UInt64(count)
    }
    try input.fileHandleForWriting.close()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return String(text.prefix(64))
  }
}
