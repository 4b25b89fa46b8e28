import BlockCore
import BlockSim
import OverlayBD
import TestKit
import Testing

/// Random stacks of layers against a plain array of bytes.
@Suite struct StackPropertyTests {
  /// A random layer on a model of the disk: changes the model and returns the layer's extents in order.
  private func layer(
    on disk: inout [UInt8], _ random: inout SplitMix64, overlapping: Bool
  ) -> [LayerFabric.Extent] {
    let sectors = disk.count / 512
    var extents: [LayerFabric.Extent] = []
    var sector = 0
    for _ in 0..<Int.random(in: 0...8, using: &random) {
      if overlapping {
        sector = Int.random(in: 0..<sectors, using: &random)
      } else {
        sector += Int.random(in: 0...max(sectors / 6, 1), using: &random)
      }
      guard sector < sectors else { break }
      let count = min(Int.random(in: 1...max(sectors / 4, 1), using: &random), sectors - sector)
      let range = sector * 512..<(sector + count) * 512
      if Int.random(in: 0..<4, using: &random) == 0 {
        extents.append(.init(sector: UInt64(sector), zeroedCount: UInt64(count)))
        disk.replaceSubrange(range, with: repeatElement(0, count: range.count))
      } else {
        // Half of it compresses well, half not at all.
        let kind = Bool.random(using: &random) ? "rand" : "text"
        let content = OpsScript.content(kind, random.next() & 0xFFFF, range.count)
        extents.append(.init(sector: UInt64(sector), content: content))
        disk.replaceSubrange(range, with: content)
      }
      sector += count
    }
    return extents
  }

  /// A layer file in one of the forms in which they come.
  private func wrapped(_ layer: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
    var bytes = layer
    if Bool.random(using: &random) {
      let blockSize = [4096, 8192, 16384, 32768, 65536].randomElement(using: &random) ?? 4096
      bytes = LayerFabric.zfile(
        bytes,
        .init(
          Bool.random(using: &random) ? .lz4 : .zstd, blockSize: blockSize,
          hasChecksums: Bool.random(using: &random), overwritesHeader: Bool.random(using: &random)))
    }
    return Int.random(in: 0..<3, using: &random) == 0 ? LayerFabric.tar(bytes) : bytes
  }

  private func open(
    _ file: any BlockFile, using workspace: Workspace
  ) async throws(BlockError) -> Layer {
    let blob: any ByteSource = try await TarEnvelope.openIfPresent(file, using: workspace)?.payload ?? file
    return try await Layer.openSealed(
      try await ZFile.openIfPresent(blob, using: workspace) ?? blob, using: workspace)
  }

  /// A random stack of so many sectors, and what it must read as.
  private func stack(
    sectors: Int, layers: Int, _ disk: SimulatedDisk, _ random: inout SplitMix64
  ) async throws -> (LayerStack, [UInt8]) {
    let workspace = Workspace()
    var model = [UInt8](repeating: 0, count: sectors * 512)
    var opened: [Layer] = []
    for number in 0..<layers {
      let extents = layer(on: &model, &random, overlapping: false)
      let size = number == 0 || Bool.random(using: &random) ? UInt64(model.count) : 0
      let bytes = wrapped(LayerFabric.committedLayer(extents, virtualSize: size), &random)
      opened.append(try await open(disk.add("\(number)", bytes), using: workspace))
    }
    if Bool.random(using: &random) {
      let writes = layer(on: &model, &random, overlapping: true)
      let pair = LayerFabric.writablePair(writes, virtualSize: UInt64(model.count), tag: UInt64(layers))
      opened.append(
        try await Layer.openWritable(
          data: disk.add("data", pair.data), index: disk.add("index", pair.index), using: workspace))
    }
    return (try LayerStack(opened, name: "stack"), model)
  }

  @Test func everyRangeOfSmallStacksReadsAsTheModel() async throws {
    let seed = Seed.of("everyRangeOfSmallStacksReadsAsTheModel")
    var random = SplitMix64(seed: seed)
    let workspace = Workspace()
    for _ in 0..<150 {
      let disk = SimulatedDisk(seed: random.next())
      let sectors = Int.random(in: 1...24, using: &random)
      let (stack, model) = try await stack(
        sectors: sectors, layers: Int.random(in: 1...9, using: &random), disk, &random)
      // Now and then a read of a file has to wait, in any place of a request.
      disk.setWaitShare([0, 0.1, 1].randomElement(using: &random) ?? 0)
      for start in 0..<sectors {
        for end in start + 1...sectors {
          let read = try await stack.read(
            at: UInt64(start * 512), byteCount: (end - start) * 512, using: workspace)
          #expect(read == Array(model[start * 512..<end * 512]), "sectors \(start)..<\(end), seed \(seed)")
        }
      }
    }
  }

  @Test func randomRangesOfLargeStacksReadAsTheModel() async throws {
    let seed = Seed.of("randomRangesOfLargeStacksReadAsTheModel")
    var random = SplitMix64(seed: seed)
    let workspace = Workspace()
    for _ in 0..<12 {
      let disk = SimulatedDisk(seed: random.next())
      let (stack, model) = try await stack(
        sectors: 4096, layers: Int.random(in: 1...60, using: &random), disk, &random)
      disk.setWaitShare(0.05)
      for _ in 0..<200 {
        let start = Int.random(in: 0..<4096, using: &random)
        let count = Int.random(in: 1...min(4096 - start, 700), using: &random)
        let read = try await stack.read(at: UInt64(start * 512), byteCount: count * 512, using: workspace)
        #expect(read == Array(model[start * 512..<(start + count) * 512]), "seed \(seed)")
      }
      for extent in zip(try await stack.dataExtents(), try await stack.dataExtents().dropFirst()) {
        #expect(extent.0.upperBound < extent.1.lowerBound)
      }
    }
  }

  @Test func aFailingDiskFailsTheRead() async throws {
    var random = SplitMix64(seed: Seed.of("aFailingDiskFailsTheRead"))
    let disk = SimulatedDisk(seed: random.next())
    let (stack, model) = try await stack(sectors: 64, layers: 4, disk, &random)
    let before = disk.operationCount
    _ = try await stack.read(at: 0, byteCount: model.count, using: Workspace())
    let operations = disk.operationCount - before
    for number in 0..<operations {
      disk.failOperation(number + 1)
      await #expect(throws: BlockError.self) {
        _ = try await stack.read(at: 0, byteCount: model.count, using: Workspace())
      }
    }
    disk.failOperation(nil)
    #expect(try await stack.read(at: 0, byteCount: model.count, using: Workspace()) == model)
  }

  /// Upstream's index keeps 32 bits of a sector's number and reads zeros there.
  @Test func disksBeyondTwoTebibytesReadRight() async throws {
    let workspace = Workspace()
    let tebibyte: UInt64 = 1 << 31
    let size = 5 * tebibyte * 512
    let places: [UInt64] = [0, tebibyte, 2 * tebibyte + 8, 4 * tebibyte + 123, 5 * tebibyte - 1]
    var layers: [Layer] = []
    for (number, place) in places.enumerated() {
      let content = OpsScript.content("rand", UInt64(number), 512)
      let bytes = LayerFabric.committedLayer([.init(sector: place, content: content)], virtualSize: size)
      layers.append(try await Layer.openSealed(MemorySource(bytes), using: workspace))
    }
    let stack = try LayerStack(layers, name: "large")
    for (number, place) in places.enumerated() {
      let around = max(place, 1) - 1
      let count = min(3, size / 512 - around)
      let read = try await stack.read(at: around * 512, byteCount: Int(count) * 512, using: workspace)
      let offset = Int(place - around) * 512
      #expect(Array(read[offset..<offset + 512]) == OpsScript.content("rand", UInt64(number), 512))
      #expect(read.indices.filter { $0 < offset || $0 >= offset + 512 }.allSatisfy { read[$0] == 0 })
    }
  }
}
