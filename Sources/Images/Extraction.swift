import BlockCore

extension Image {
  /// What an extraction came to.
  public struct Extraction: Sendable, Hashable, Codable {
    /// The size of the new file in bytes.
    public var byteCount: UInt64
    /// How many of them were written; the rest is holes.
    public var writtenBytes: UInt64
  }

  /// Writes the disk's content to a new sparse raw file.
  ///
  /// The file appears under its name only when it is whole and on stable storage; until then it has a
  /// temporary name beside it, which is removed if anything fails.
  ///
  /// - Parameters:
  ///   - path: The new file; nothing may stand there unless `replaces`.
  ///   - replaces: Whether an existing file is replaced; what is not a regular file never is.
  ///   - taskCount: How many tasks share the work.
  ///   - services: The host's files and chance.
  ///   - progress: Told of every byte read.
  /// - Throws: `conflict` if something is there, or a file of the image itself; `busy` for a file that somebody uses as a
  ///   disk; what reading and writing throw.
  public func extract(
    to path: String, replaces: Bool, taskCount: Int, _ services: HostServices, _ progress: Progress
  ) async throws(BlockError) -> Extraction {
    let files = services.files
    if let kind = try files.kind(of: path), kind != .file || !replaces {
      throw BlockError(
        .conflict, step: "extract to", object: path, cause: "there is \(kind.rawValue) already",
        remedy: kind == .file ? "Choose another name, or replace it with --force." : "Choose another name.")
    }
    try checkIsReplaceable(path, files)
    guard path.last != "/", !path.isEmpty else {
      throw BlockError(
        .invalidArgument, step: "extract to", object: "\"\(path)\"", cause: "it does not name a file",
        remedy: "Name the new file.")
    }
    let temporary = "\(path).\(String(services.random.next(), radix: 16)).partial"
    do throws(BlockError) {
      let extraction = try await fill(temporary, taskCount: taskCount, files, progress)
      if Task.isCancelled {
        throw BlockError(.cancelled, step: "extract to", object: path, cause: "the work was called off")
      }
      try await files.rename(temporary, to: path, replaces: replaces)
      return extraction
    } catch {
      throw Self.afterRemoving(temporary, files, error)
    }
  }

  /// Refuses what would be lost with its name: before all is read, and once more when the new file takes it.
  private func checkIsReplaceable(_ path: String, _ files: any FileSystem) throws(BlockError) {
    if let identity = files.identity(of: path), self.files.contains(identity) {
      throw BlockError(
        .conflict, step: "extract to", object: path, cause: "it is one of the files of the image itself",
        remedy: "Name another file.")
    }
    try files.checkIsUnused(path)
  }

  /// The error of an extraction, when its temporary file has been removed.
  private static func afterRemoving(
    _ temporary: String, _ files: any FileSystem, _ error: BlockError
  ) -> BlockError {
    do throws(BlockError) {
      try files.remove(temporary)
      return error
    } catch let further {
      return error.aggravated(by: further, while: "removing the temporary file")
    }
  }

  private func fill(
    _ path: String, taskCount: Int, _ files: any FileSystem, _ progress: Progress
  ) async throws(BlockError) -> Extraction {
    let size = volume.geometry.byteCount
    let target = try await files.create(path, byteCount: size)
    let extents = try await volume.dataExtents()
    progress.expect(extents.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) })
    let written = Progress()
    let volume = self.volume
    try await WorkShare.forEach(WorkShare.pieces(of: extents), taskCount: taskCount) {
      (piece, workspace) async throws(BlockError) in
      let bytes = try await volume.read(
        at: piece.lowerBound, byteCount: Int(piece.upperBound - piece.lowerBound), using: workspace)
      for run in bytes.span.bytes.dataRuns {
        try await target.write(
          at: piece.lowerBound + UInt64(run.lowerBound), from: bytes.span.bytes.extracting(run),
          isDurable: false)
        written.advance(by: UInt64(run.count))
      }
      progress.advance(by: UInt64(bytes.count))
    }
    try await target.synchronize()
    return Extraction(byteCount: size, writtenBytes: written.bytes.done)
  }
}
