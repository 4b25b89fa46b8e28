import BlockCore
import Glibc
import Hashing
import Images
import LinuxIO
import Synchronization

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
    let digests = Mutex<[UInt64: Digest256]>([:])
    let content = self.content
    let progress = self.progress
    try await WorkShare.forEach(pieces, taskCount: Self.taskCount) {
      (piece, workspace) async throws(BlockError) in
      let bytes = try await content.read(piece, using: workspace)
      for run in Image.nonZeroRuns(of: bytes) {
        try await target.write(
          at: piece.lowerBound + UInt64(run.lowerBound), from: bytes.span.bytes.extracting(run),
          isDurable: false)
        written.advance(by: UInt64(run.count))
      }
      let digest = try SHA256.digest(of: bytes.span.bytes)
      digests.withLock { $0[piece.lowerBound] = digest }
      progress.advance(by: UInt64(piece.count))
    }
    try await target.synchronize()
    try await verify(path, pieces, digests.withLock { $0 })
    return written.bytes.done
  }

  /// Reads the file from its disk, and holds it against what was written.
  private func verify(
    _ path: String, _ pieces: [Range<UInt64>], _ digests: [UInt64: Digest256]
  ) async throws(BlockError) {
    let file = try LinuxFile(path, for: .readOnly)
    try file.dropCache()
    let progress = self.progress
    try await WorkShare.forEach(pieces, taskCount: Self.taskCount) {
      (piece, workspace) async throws(BlockError) in
      let bytes = try await file.bytes(at: piece.lowerBound, byteCount: piece.count, using: workspace)
      guard try SHA256.digest(of: bytes.span.bytes) == digests[piece.lowerBound] else {
        throw BlockError(
          .checksumMismatch, step: "read back", object: path,
          cause: "bytes \(piece.lowerBound) to \(piece.upperBound) are not what was written",
          remedy: "The disk does not keep what is written to it; look into the kernel's log.")
      }
      progress.advance(by: UInt64(piece.count))
    }
  }
}
