import ArgumentParser
import BlockCore
import BlockSim
import FoundationEssentials
import OverlayBD
import TestKit

/// `ashlar-bench prepare`: makes the images that are measured.
struct PrepareCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare", abstract: "Make the images that the other measurements read.")

  @Argument(help: "Where; a tmpfs.")
  var directory: String

  @Option(help: "A file with ordinary content, which compresses as such.")
  var content: String

  @Option(help: "Bytes of the disk, in MiB.")
  var size = 512

  func run() async throws {
    let byteCount = size << 20
    var content = Array(try Data(contentsOf: URL(filePath: content)).prefix(byteCount))
    while content.count < byteCount { content += content.prefix(byteCount - content.count) }
    try write("raw.img", content)
    try write("content.lz4.zf", LayerFabric.zfile(content, .init(.lz4)))
    try write("content.zstd.zf", LayerFabric.zfile(content, .init(.zstd)))
    for layers in [1, 10, 50, 200] { try makeStack(content, layers: layers, nil, "plain-\(layers)") }
    try makeStack(content, layers: 10, .init(.lz4), "lz4-10")
    try makeStack(content, layers: 1, .init(.zstd), "zstd-1")
  }

  private func write(_ name: String, _ bytes: [UInt8]) throws {
    try Data(bytes).write(to: URL(filePath: "\(directory)/\(name)"))
  }

  /// Writes a stack whose disk holds some content: each layer holds runs of it, 8 to 256 KiB long, chosen at
  /// random, so that reads anywhere go to all of them.
  private func makeStack(
    _ content: [UInt8], layers count: Int, _ compression: LayerFabric.Compression?, _ name: String
  ) throws {
    var random = SplitMix64(seed: UInt64(count))
    var extents = [[LayerFabric.Extent]](repeating: [], count: count)
    var sector = 0
    let end = content.count / 512
    while sector < end {
      let length = min(Int.random(in: 16...512, using: &random), end - sector)
      extents[Int.random(in: 0..<count, using: &random)].append(
        .init(sector: UInt64(sector), content: Array(content[sector * 512..<(sector + length) * 512])))
      sector += length
    }
    var lowers: [String] = []
    for (number, extents) in extents.enumerated() {
      var bytes = LayerFabric.committedLayer(extents, virtualSize: UInt64(content.count))
      if let compression { bytes = LayerFabric.zfile(bytes, compression) }
      try write("\(name).\(number).lsmt", bytes)
      lowers.append(#"{"file":"\#(name).\#(number).lsmt"}"#)
    }
    try write("\(name).json", Array(#"{"lowers":[\#(lowers.joined(separator: ","))]}"#.utf8))
  }
}
