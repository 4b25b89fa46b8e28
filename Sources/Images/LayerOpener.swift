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
      return try await open(path: path, spelling: path, target: nil)
    } catch {
      throw error.error
    }
  }

  /// Opens a read-only layer.
  ///
  /// - Parameters:
  ///   - path: The file.
  ///   - spelling: The path as the configuration spells it.
  ///   - target: For a warp layer, its tar.
  func open(
    path: String, spelling: String, target: Target?
  ) async throws(LayerFailure) -> Image.OpenedLayer {
    let workspace = Workspace()
    let file = try await at(.localFile(spelling)) { () async throws(BlockError) in
      try await files.open(path, for: .readOnly)
    }
    let tar = try await at(.tar(spelling)) { () async throws(BlockError) in
      try await TarEnvelope.openIfPresent(file, using: workspace)
    }
    let blob: any ByteSource = tar?.payload ?? file
    let zfile = try await at(.zfile(spelling)) { () async throws(BlockError) in
      try await ZFile.openIfPresent(blob, using: workspace)
    }
    let layer = try await at(.stack) { () async throws(BlockError) in
      try await Layer.openSealed(zfile ?? blob, target: target?.source, using: workspace)
    }
    return Image.OpenedLayer(
      path: path, fileByteCount: file.byteCount, tar: tar, zfile: zfile, layer: layer,
      targetPath: target?.path, gzip: target?.gzip)
  }

  /// Opens the tar of a warp layer.
  ///
  /// - Parameters:
  ///   - path: The tar, or tar.gz.
  ///   - gzipIndex: The index of the latter.
  ///   - spelling: Both paths as the configuration spells them.
  func openTarget(
    path: String, gzipIndex: String?, spelling: (target: String, gzipIndex: String)
  ) async throws(LayerFailure) -> Target {
    let workspace = Workspace()
    let file = try await at(.target(spelling.target)) { () async throws(BlockError) in
      try await files.open(path, for: .readOnly)
    }
    guard let gzipIndex else { return Target(path: path, source: file, gzip: nil) }
    let indexFile = try await at(.gzipIndex(spelling.gzipIndex)) { () async throws(BlockError) in
      try await files.open(gzipIndex, for: .readOnly)
    }
    let gzip = try await at(.stack) { () async throws(BlockError) in
      try await GzipSource.open(file, indexFile: indexFile, using: workspace)
    }
    return Target(path: path, source: gzip, gzip: gzip)
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
