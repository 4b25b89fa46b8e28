import BlockCore
import OverlayBD

/// Opening the read-only layers: first all files and headers, then, in two steps, what they ask memory for. Each step
/// is held against its limit, over all layers, before it begins.
extension ConfiguredImage {
  /// Opens the read-only layers; a file that is named twice is loaded once.
  func openLowers(
    _ lowers: ArraySlice<ImageConfig.Lower>, of config: ImageConfig
  ) async throws(LayerFailure) -> [Image.OpenedLayer] {
    let prepared = try await inOrder(Array(lowers.indices)) { (number) async throws(LayerFailure) in
      try await prepareLower(number, of: config)
    }
    try check(
      prepared.reduce(0) { $0 + $1.blockCount }, "compressed files", "blocks", atMost: Limits.blocksInStack)
    try check(
      prepared.reduce(0) { $0 + ($1.target?.entryCount ?? 0) }, "gzip indexes", "entries",
      atMost: Limits.gzipIndexEntriesInStack)
    var places: [LayerOpener.Prepared.Key: Int] = [:]
    var distinct: [LayerOpener.Prepared] = []
    for layer in prepared where places[layer.key] == nil {
      places[layer.key] = distinct.count
      distinct.append(layer)
    }
    let gzipCount = distinct.count { $0.target?.gzipIndex != nil }
    // Of each its share, but as much as a request of the largest size takes, twice.
    let cacheByteCount = min(
      Limits.gzipCacheBytes, max(Limits.gzipCacheBytesInStack / max(gzipCount, 1), 2 * Limits.requestBytes))
    let opener = opener
    let unwrapped = try await inOrder(distinct) { (layer) async throws(LayerFailure) in
      try await opener.unwrap(layer, cacheByteCount: cacheByteCount)
    }
    func place(of layer: LayerOpener.Prepared) -> Int { places[layer.key] ?? 0 }
    try checkEntries(prepared.reduce(0) { $0 + unwrapped[place(of: $1)].entryCount })
    let loaded = try await inOrder(unwrapped) { (layer) async throws(LayerFailure) in
      try await opener.load(layer)
    }
    return prepared.map { layer in
      var opened = loaded[place(of: layer)]
      opened.path = layer.path
      opened.targetPath = layer.target?.path
      return opened
    }
  }

  private func check(
    _ count: UInt64, _ whose: String, _ what: String, atMost limit: UInt64
  ) throws(LayerFailure) {
    guard count > limit else { return }
    throw failure(
      .exhausted, "together its layers' \(whose) have \(count) \(what), and \(limit) are allowed",
      "Merge some of the layers into one.")
  }

  /// Refuses layers whose indexes have too many entries together; none of them is loaded yet.
  func checkEntries(_ count: UInt64) throws(LayerFailure) {
    guard count > UInt64(Limits.segmentsInStack) else { return }
    throw LayerFailure(place: .stack, error: LayerStack.tooManyEntries(count, reference.path))
  }

  /// Runs a body for each item, many at a time; of several failures the lowest layer's counts.
  private func inOrder<Item: Sendable, Value: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async throws(LayerFailure) -> Value
  ) async throws(LayerFailure) -> [Value] {
    typealias Outcome = Result<Value, LayerFailure>
    let outcomes = await withTaskGroup(of: (Int, Outcome).self) { group in
      var outcomes = [Outcome?](repeating: nil, count: items.count)
      var next = 0
      func startNext() {
        guard next < items.count else { return }
        let number = next
        next += 1
        group.addTask {
          do throws(LayerFailure) {
            return (number, .success(try await body(items[number])))
          } catch {
            return (number, .failure(error))
          }
        }
      }
      for _ in 0..<Limits.parallelLayerOpens { startNext() }
      while let (number, outcome) = await group.next() {
        outcomes[number] = outcome
        startNext()
      }
      return outcomes.compactMap { $0 }
    }
    var values: [Value] = []
    for outcome in outcomes { values.append(try outcome.get()) }
    return values
  }

  /// Throws if a layer may be there and cannot be come by: a link that leads back to itself, a directory that is closed.
  private func explainUnreachable(
    _ lower: ImageConfig.Lower, _ config: ImageConfig
  ) async throws(LayerFailure) {
    guard config.repoBlobUrl.isEmpty else { return }
    for spelling in lower.candidates {
      do throws(BlockError) {
        _ = try await services.files.open(absolute(spelling), for: .readOnly)
      } catch  where error.kind != .notFound {
        throw LayerFailure(place: .noRepository, error: error)
      } catch {
        // That it is not there, the caller says.
        continue
      }
    }
  }

  private func prepareLower(
    _ number: Int, of config: ImageConfig
  ) async throws(LayerFailure) -> LayerOpener.Prepared {
    let lower = config.lowers[number]
    guard let spelling = lower.candidates.first(where: { services.files.exists(absolute($0)) }) else {
      try await explainUnreachable(lower, config)
      throw notLocal(number, config)
    }
    var target: LayerOpener.PreparedTarget?
    if !lower.targetFile.isEmpty {
      target = try await opener.prepareTarget(
        path: absolute(lower.targetFile),
        gzipIndex: lower.gzipIndex.isEmpty ? nil : absolute(lower.gzipIndex),
        spelling: (lower.targetFile, lower.gzipIndex))
    } else if !lower.targetDigest.isEmpty {
      throw remote(lower.targetDigest, config)
    }
    return try await opener.prepare(path: absolute(spelling), spelling: spelling, target: target)
  }
}
