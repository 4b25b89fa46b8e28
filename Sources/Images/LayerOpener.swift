import BlockCore
import OverlayBD

/// Where on the way to a layer something failed; upstream's result file has a text for each place.
struct LayerFailure: Error {
  /// The place, with the path as the configuration spells it.
  enum Place {
    case localFile(String)
    case tar(String)
    case zfile(String)
    case target(String)
    case gzipIndex(String)
    case noRepository
    case remote(url: String)
    case stack
  }

  let place: Place
  let error: BlockError

  /// The text for the result file, exactly as upstream words it (service specification, §4.1).
  var resultText: String {
    switch place {
    case .localFile(let path): "failed to open local file \(path)"
    case .tar(let path): "failed to open file as tar file \(path)"
    case .zfile(let path): "failed to open switch file \(path)"
    case .target(let path): "failed to open local data file \(path)"
    case .gzipIndex(let path): "failed to open gzip index \(path)"
    case .noRepository: "empty repoBlobUrl"
    // ENOSYS in strerror's words: what upstream's fallback prints for a reason it has no text for.
    case .remote(let url): "failed to open remote file \(url): Function not implemented"
    case .stack: "failed to create overlaybd device"
    }
  }
}

/// Opens layers: out of their tar, decompressed, index loaded (specification, §12).
struct LayerOpener: Sendable {
  private let files: any FileSystem

  init(_ files: any FileSystem) {
    self.files = files
  }

  /// The uncompressed tar of a warp layer.
  struct Target: Sendable {
    let path: String
    let source: any ByteSource
    let gzip: GzipSource?
  }

  /// Whether a file is a layer, by its magic.
  static func looksLikeLayer(
    _ file: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> Bool {
    let tar = try await TarEnvelope.openIfPresent(file, using: workspace)
    let blob: any ByteSource = tar?.payload ?? file
    if try await Layer.isPresent(in: blob, using: workspace) { return true }
    return try await ZFile.openIfPresent(blob, using: workspace) != nil
  }

  /// Opens one layer by itself.
  func openLayer(at path: String) async throws(BlockError) -> Image.OpenedLayer {
    do {
      return try await load(try await unwrap(try await prepare(path: path, spelling: path, target: nil)))
    } catch {
      throw error.error
    }
  }

  /// A layer's files, open, and how much there is to load: nothing is loaded yet.
  struct Prepared: Sendable {
    let path: String
    let spelling: String
    let file: any BlockFile
    let tar: TarEnvelope?
    /// Blocks of the compressed file; 0 if it is not compressed.
    let blockCount: UInt64
    let target: PreparedTarget?

    /// What is in the tar, or the file itself.
    var blob: any ByteSource { tar?.payload ?? file }

    /// What makes two layers the same: their files.
    struct Key: Hashable {
      let file: FileIdentity
      let target: FileIdentity?
      let gzipIndex: FileIdentity?
    }

    var key: Key {
      Key(file: file.identity, target: target?.file.identity, gzipIndex: target?.gzipIndex?.identity)
    }
  }

  /// The same of a warp layer's tar.
  struct PreparedTarget: Sendable {
    let path: String
    let file: any BlockFile
    let gzipIndex: (any BlockFile)?
    /// Entries of the gzip index; 0 without one.
    let entryCount: UInt64
  }

  /// A layer out of its tar and decompressed, whose index is not loaded yet.
  struct Unwrapped: Sendable {
    let prepared: Prepared
    let zfile: ZFile?
    let target: Target?
    /// Entries of the index.
    let entryCount: UInt64
  }

  /// Opens a read-only layer's files and reads their headers.
  ///
  /// - Parameters:
  ///   - path: The file.
  ///   - spelling: The path as the configuration spells it.
  ///   - target: The tar of a warp layer.
  func prepare(
    path: String, spelling: String, target: PreparedTarget?
  ) async throws(LayerFailure) -> Prepared {
    let workspace = Workspace()
    let file = try await at(.localFile(spelling)) { () async throws(BlockError) in
      try await files.open(path, for: .readOnly)
    }
    let tar = try await at(.tar(spelling)) { () async throws(BlockError) in
      try await TarEnvelope.openIfPresent(file, using: workspace)
    }
    let blockCount = try await at(.zfile(spelling)) { () async throws(BlockError) in
      try await ZFile.blockCount(of: tar?.payload ?? file, using: workspace)
    }
    return Prepared(
      path: path, spelling: spelling, file: file, tar: tar, blockCount: blockCount, target: target)
  }

  /// Opens the tar of a warp layer, and reads the header of its gzip index.
  ///
  /// - Parameters:
  ///   - path: The tar, or tar.gz.
  ///   - gzipIndex: The index of the latter.
  ///   - spelling: Both paths as the configuration spells them.
  func prepareTarget(
    path: String, gzipIndex: String?, spelling: (target: String, gzipIndex: String)
  ) async throws(LayerFailure) -> PreparedTarget {
    let file = try await at(.target(spelling.target)) { () async throws(BlockError) in
      try await files.open(path, for: .readOnly)
    }
    guard let gzipIndex else { return PreparedTarget(path: path, file: file, gzipIndex: nil, entryCount: 0) }
    let indexFile = try await at(.gzipIndex(spelling.gzipIndex)) { () async throws(BlockError) in
      try await files.open(gzipIndex, for: .readOnly)
    }
    let entryCount = try await at(.stack) { () async throws(BlockError) in
      try await GzipSource.entryCount(ofIndex: indexFile, of: file, using: Workspace())
    }
    return PreparedTarget(path: path, file: file, gzipIndex: indexFile, entryCount: entryCount)
  }

  /// Loads the table of a compressed layer and the index of its tar.gz.
  ///
  /// - Parameter cacheByteCount: How many decoded bytes of the tar.gz are kept.
  func unwrap(
    _ prepared: Prepared, cacheByteCount: Int = Limits.gzipCacheBytes
  ) async throws(LayerFailure) -> Unwrapped {
    let workspace = Workspace()
    let zfile = try await at(.zfile(prepared.spelling)) { () async throws(BlockError) in
      try await ZFile.openIfPresent(prepared.blob, using: workspace)
    }
    var target: Target?
    if let prepared = prepared.target {
      target = try await load(prepared, cacheByteCount: cacheByteCount)
    }
    let entryCount = try await at(.stack) { () async throws(BlockError) in
      try await Layer.entryCount(ofSealed: zfile ?? prepared.blob, using: workspace)
    }
    return Unwrapped(prepared: prepared, zfile: zfile, target: target, entryCount: entryCount)
  }

  /// Loads the index of a tar.gz, where it is one.
  func load(
    _ prepared: PreparedTarget, cacheByteCount: Int = Limits.gzipCacheBytes
  ) async throws(LayerFailure) -> Target {
    guard let index = prepared.gzipIndex else {
      return Target(path: prepared.path, source: prepared.file, gzip: nil)
    }
    let gzip = try await at(.stack) { () async throws(BlockError) in
      try await GzipSource.open(
        prepared.file, indexFile: index, cacheByteCount: cacheByteCount, using: Workspace())
    }
    return Target(path: prepared.path, source: gzip, gzip: gzip)
  }

  /// Loads a layer's index.
  func load(_ unwrapped: Unwrapped) async throws(LayerFailure) -> Image.OpenedLayer {
    let prepared = unwrapped.prepared
    let layer = try await at(.stack) { () async throws(BlockError) in
      try await Layer.openSealed(
        unwrapped.zfile ?? prepared.blob, target: unwrapped.target?.source, using: Workspace())
    }
    return Image.OpenedLayer(
      path: prepared.path, fileByteCount: prepared.file.byteCount, tar: prepared.tar, zfile: unwrapped.zfile,
      layer: layer, targetPath: unwrapped.target?.path, gzip: unwrapped.target?.gzip)
  }

  /// Runs a step and says where it was that it failed.
  func at<Value>(
    _ place: LayerFailure.Place, _ step: () async throws(BlockError) -> Value
  ) async throws(LayerFailure) -> Value {
    do {
      return try await step()
    } catch {
      throw LayerFailure(place: place, error: error)
    }
  }
}
