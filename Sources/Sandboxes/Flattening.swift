import BlockCore
import Glibc
import Images
import LinuxIO

/// Writes all of a sandbox's disk to a new raw file: sparse, in parallel, verified and on stable storage.
struct Flattening: Sendable {
  let content: any SandboxContent
  let byteCount: UInt64
  let files: any FileSystem
  let progress: Progress

  /// How many tasks share the work.
  private static var taskCount: Int { min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 2), 8) }

  /// Writes a file, which must not be there.
  ///
  /// - Returns: How many bytes were written; the rest is holes.
  /// - Throws: What reading and writing throw, `cancelled`, `checksumMismatch` if the file does not read as it was
  ///   written; the file is left to the caller then.
  func write(to path: String) async throws(BlockError) -> UInt64 {
    let target = try await files.create(path, byteCount: byteCount)
    let pieces = WorkShare.pieces(of: content.extents)
    progress.expect(2 * pieces.reduce(0) { $0 + UInt64($1.count) })
    let written = Progress()
    let content = self.content
    let progress = self.progress
    try await WorkShare.forEach(pieces, taskCount: Self.taskCount) {
      (piece, workspace) async throws(BlockError) in
      let memory = workspace.component(PieceMemory.self)
      var bytes = memory.take()
      try await content.read(piece, into: &bytes, using: workspace)
      for run in Image.nonZeroRuns(of: bytes.span.bytes.extracting(0..<piece.count)) {
        try await target.write(
          at: piece.lowerBound + UInt64(run.lowerBound), from: bytes.span.bytes.extracting(run),
          isDurable: false)
        written.advance(by: UInt64(run.count))
      }
      memory.give(bytes)
      progress.advance(by: UInt64(piece.count))
    }
    try await target.synchronize()
    try await verify(path, pieces)
    return written.bytes.done
  }

  /// Reads the file from its disk, and holds it against the sandbox, read again.
  private func verify(_ path: String, _ pieces: [Range<UInt64>]) async throws(BlockError) {
    let file = try LinuxFile(path, for: .readOnly)
    try file.dropCache()
    let content = self.content
    let progress = self.progress
    try await WorkShare.forEach(pieces, taskCount: Self.taskCount) {
      (piece, workspace) async throws(BlockError) in
      let memory = workspace.component(PieceMemory.self)
      var expected = memory.take()
      var found = memory.take()
      try await content.read(piece, into: &expected, using: workspace)
      try await file.read(piece, into: &found, using: workspace)
      let isSame = expected.withUnsafeBytes { one in
        found.withUnsafeBytes { other in
          guard let one = one.baseAddress, let other = other.baseAddress else { return piece.isEmpty }
          return memcmp(one, other, piece.count) == 0
        }
      }
      guard isSame else {
        throw BlockError(
          .checksumMismatch, step: "read back", object: path,
          cause: "bytes \(piece.lowerBound) to \(piece.upperBound) are not what was written",
          remedy: "The disk does not keep what is written to it; look into the kernel's log.")
      }
      memory.give(expected)
      memory.give(found)
      progress.advance(by: UInt64(piece.count))
    }
  }
}

/// Memory for pieces, which a task keeps from one to the next.
private final class PieceMemory: WorkspaceComponent {
  private var free: [[UInt8]] = []

  func take() -> [UInt8] {
    free.popLast() ?? [UInt8](repeating: 0, count: Int(WorkShare.pieceByteCount))
  }

  func give(_ bytes: consuming [UInt8]) { free.append(bytes) }
}

extension LinuxFile {
  /// Reads a range into the beginning of an array that has room for it.
  func read(
    _ range: Range<UInt64>, into bytes: inout [UInt8], using workspace: Workspace
  ) async throws(BlockError) {
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    var target = raw._mutatingExtracting(0..<range.count)
    try await readAnyhow(at: range.lowerBound, into: &target, using: workspace)
  }
}
