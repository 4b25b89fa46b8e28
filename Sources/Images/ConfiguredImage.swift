import BlockCore
import OverlayBD

/// Opening the image that a `config.v1.json` describes (service specification, §4).
struct ConfiguredImage {
  let reference: ImageReference
  private let text: [UInt8]
  let services: HostServices
  private let options: ImageOptions
  let opener: LayerOpener
  /// What relative paths count from: the configuration's own directory, also where it was found by a link.
  ///
  /// Upstream takes its daemon's working directory, which nobody can rely on.
  private let directory: String

  /// Makes it ready to be opened.
  ///
  /// - Throws: If the configuration has gone meanwhile.
  init(
    _ reference: ImageReference, _ text: [UInt8], _ services: HostServices, _ options: ImageOptions
  ) throws(BlockError) {
    self.reference = reference
    self.text = text
    self.services = services
    self.options = options
    opener = LayerOpener(services.files)
    let path = try services.files.resolve(reference.path)
    let end = path.lastIndex(of: "/") ?? path.startIndex
    directory = end == path.startIndex ? "/" : String(path[..<end])
  }

  func absolute(_ path: String) -> String {
    ImageReference.absolute(path, relativeTo: directory)
  }

  func open() async throws(BlockError) -> Image {
    let config: ImageConfig
    do {
      config = try ImageConfig(json: text, path: reference.path)
    } catch {
      try await report(
        "failed:failed to create overlaybd device", to: ImageConfig.resultFile(inJSON: text), of: error)
      throw error
    }
    var image: Image
    do throws(LayerFailure) {
      image = try await open(config)
    } catch {
      try await report("failed:\(error.resultText)", to: config.resultFile, of: error.error)
      throw error.error
    }
    do throws(BlockError) {
      try await report("success", to: config.resultFile)
    } catch {
      // Whoever waits for it has the wrong place in his configuration; whoever uses the disk has the disk.
      image.notices.append("the result file is not written: \(error)")
    }
    return image
  }

  /// Writes the result file, if one is named and wanted.
  private func report(_ result: String, to file: String) async throws(BlockError) {
    guard options.writesResultFile, !file.isEmpty else { return }
    try await services.files.writeResultFile(absolute(file), Array(result.utf8), sparing: filesOfTheImage)
  }

  /// The configuration and whatever it names: not to be written over.
  private var filesOfTheImage: Set<FileIdentity> {
    let names = Set(ImageConfig.texts(inJSON: text)).flatMap { [$0] + ImageConfig.Lower.names(in: $0) }
    return Set(([reference.path] + names.map(absolute)).compactMap(services.files.identity))
  }

  /// The same for a failure, which the caller is told together with what went wrong with the file.
  private func report(_ result: String, to file: String, of failure: BlockError) async throws(BlockError) {
    do throws(BlockError) {
      try await report(result, to: file)
    } catch {
      throw failure.aggravated(by: error, while: "writing the result file")
    }
  }

  private func open(_ config: ImageConfig) async throws(LayerFailure) -> Image {
    var notices: [String] = []
    let lowers = try lowers(of: config, &notices)
    guard !lowers.isEmpty || config.upper.isPresent else {
      throw failure(
        .invalidArgument, "it has neither lowers nor an upper", "Name at least one layer under \"lowers\".")
    }
    guard lowers.count <= Limits.layersInStack else {
      throw failure(
        .exhausted, "it has \(lowers.count) lowers, and \(Limits.layersInStack) are allowed",
        "Merge some of the layers into one.")
    }
    var layers = try await openLowers(lowers, of: config)
    if config.upper.isPresent {
      layers.append(try await openUpper(config.upper, on: layers))
      notices.append("the writable layer \(config.upper.data) is opened for reading")
    }
    let stack: LayerStack
    do {
      stack = try LayerStack(layers.map(\.layer), name: reference.path)
    } catch {
      throw LayerFailure(place: .stack, error: error)
    }
    return Image(
      reference: reference, format: .overlaybd, volume: stack, layers: layers,
      segmentCount: stack.segmentCount, files: filesOfTheImage, notices: notices)
  }

  func failure(_ kind: BlockError.Kind, _ cause: String, _ remedy: String) -> LayerFailure {
    LayerFailure(
      place: .stack,
      error: BlockError(kind, step: "open image", object: reference.path, cause: cause, remedy: remedy))
  }

  /// The lowers that are layers of the disk: all but a trace on top.
  private func lowers(
    of config: ImageConfig, _ notices: inout [String]
  ) throws(LayerFailure) -> ArraySlice<ImageConfig.Lower> {
    if config.accelerationLayer && !config.recordTracePath.isEmpty {
      throw failure(
        .invalidArgument, "accelerationLayer and recordTracePath exclude each other", "Remove one of the two."
      )
    }
    if config.accelerationLayer && !config.lowers.isEmpty {
      notices.append("the last of the lowers is an acceleration layer and is left out")
      return config.lowers.dropLast()
    }
    if !config.recordTracePath.isEmpty {
      notices.append("recordTracePath \(config.recordTracePath): nothing is recorded or replayed")
    }
    if config.wantsDownload {
      notices.append("download.enable: nothing is downloaded in the background; all layers are local")
    }
    return config.lowers[...]
  }

  /// What to say of a layer that is in none of the places where a local one could be.
  func notLocal(_ number: Int, _ config: ImageConfig) -> LayerFailure {
    let lower = config.lowers[number]
    guard config.repoBlobUrl.isEmpty else { return remote(lower.digest, config) }
    let places = lower.candidates.map(absolute).joined(separator: ", ")
    let name = "lowers[\(number)] of \(reference.path)"
    return LayerFailure(
      place: .noRepository,
      error: BlockError(
        .notFound, step: "open layer", object: places.isEmpty ? name : places,
        cause: places.isEmpty
          ? "it has neither a file nor a dir, and the configuration no repoBlobUrl"
          : "there is no such file, and \(name) has no repoBlobUrl to get it from",
        remedy: "Correct the layer's file or dir in the configuration."))
  }

  func remote(_ digest: String, _ config: ImageConfig) -> LayerFailure {
    let separator = config.repoBlobUrl.hasSuffix("/") ? "" : "/"
    // Upstream's URLs begin with a slash.
    let url = "/\(config.repoBlobUrl)\(separator)\(digest)"
    return LayerFailure(
      place: config.repoBlobUrl.isEmpty ? .noRepository : .remote(url: url),
      error: BlockError(
        .unsupported, step: "open layer", object: digest,
        cause: "it is not local, and layers are not fetched from registries yet",
        remedy: "Download the blob and name it as the layer's file."))
  }

  private func openUpper(
    _ upper: ImageConfig.Upper, on lowers: [Image.OpenedLayer]
  ) async throws(LayerFailure) -> Image.OpenedLayer {
    let workspace = Workspace()
    let data = try await opener.at(.stack) { () async throws(BlockError) in
      try await services.files.open(absolute(upper.data), for: .readOnly)
    }
    let index = try await opener.at(.stack) { () async throws(BlockError) in
      try await services.files.open(absolute(upper.index), for: .readOnly)
    }
    // The log's length tells, before any of it is loaded.
    try checkEntries(
      lowers.reduce(index.byteCount / UInt64(Layer.storedEntryByteCount)) { $0 + $1.layer.storedEntryCount })
    var target: LayerOpener.Target?
    if !upper.target.isEmpty {
      target = try await opener.load(
        try await opener.prepareTarget(
          path: absolute(upper.target), gzipIndex: upper.gzipIndex.isEmpty ? nil : absolute(upper.gzipIndex),
          spelling: (upper.target, upper.gzipIndex)))
    }
    let layer = try await opener.at(.stack) { () async throws(BlockError) in
      if let target {
        try await Layer.openWritableWarp(data: data, index: index, target: target.source, using: workspace)
      } else {
        try await Layer.openWritable(data: data, index: index, using: workspace)
      }
    }
    return Image.OpenedLayer(
      path: absolute(upper.data), fileByteCount: data.byteCount, tar: nil, zfile: nil, layer: layer,
      targetPath: target?.path, gzip: target?.gzip)
  }
}
