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
      for segment in content.segments(of: piece) {
        written.advance(
          by: try await segment.file.copyData(
            segment.range, to: target, at: segment.place.lowerBound, using: workspace))
      }
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
      for segment in content.segments(of: piece) {
        let place = segment.place
        guard
          try await segment.file.hasCopy(
            of: segment.range, in: file, at: place.lowerBound, using: workspace)
        else {
          throw BlockError(
            .checksumMismatch, step: "read back", object: path,
            cause: "bytes \(place.lowerBound) to \(place.upperBound) are not what was written",
            remedy: "The disk does not keep what is written to it; look into the kernel's log.")
        }
      }
      progress.advance(by: UInt64(piece.count))
    }
  }
}
