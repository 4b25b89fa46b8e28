import ArgumentParser
import BlockCore
import BlockSim
import FoundationEssentials
import OverlayBD
import TestKit

/// `ashlar-bench prepare`: makes the images that are measured.
struct PrepareCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare", abstract: "Make the images that the other measurements read.",
    discussion: """
      WHAT is raw (raw.img), lz4.zf or zstd.zf (content.lz4.zf, content.zstd.zf: a ZFile of the content) or a \
      stack of layers, KIND-LAYERS (KIND-LAYERS.json): plain-10, lz4-10, zstd-1; or zstd-half-1, of whose \
      disk half is zeros. Everything holds the same content, so that two images can be compared.
      """)

  @Argument(help: "Where; a tmpfs.")
  var directory: String

  @Argument(help: "What to make.")
  var what: [Product]

  @Option(help: "A file with ordinary content, which is repeated as often as needed; without, random bytes.")
  var content: String?

  @Option(help: "Bytes of the disk, in MiB.")
  var size = 512

  func validate() throws {
    if what.isEmpty { throw ValidationError("Say what to make.") }
    if size < 1 { throw ValidationError("A disk has at least 1 MiB.") }
  }

  func run() async throws {
    let content = try makeContent()
    for product in what {
      switch product {
      case .raw: try write("raw.img", content)
      case .zfile(let codec): try write("content.\(codec).zf", LayerFabric.zfile(content, .init(codec)))
      case .stack(let shape): try makeStack(content, shape)
      }
    }
  }

  private func makeContent() throws -> [UInt8] {
    let byteCount = size << 20
    if let content = self.content {
      var bytes = Array(try Data(contentsOf: URL(filePath: content)).prefix(byteCount))
      if bytes.isEmpty { throw ValidationError("\(content) is empty.") }
      while bytes.count < byteCount { bytes += bytes.prefix(byteCount - bytes.count) }
      return bytes
    }
    var random = SplitMix64(seed: 1)
    return [UInt8](unsafeUninitializedCapacity: byteCount) { memory, count in
      let buffer = UnsafeMutableRawBufferPointer(memory)
      for offset in stride(from: 0, to: byteCount, by: 8) {
        buffer.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
      }
      count = byteCount
    }
  }

  private func write(_ name: String, _ bytes: [UInt8]) throws {
    try Data(bytes).write(to: URL(filePath: "\(directory)/\(name)"))
  }

  /// Writes a stack whose disk holds some content: each layer holds runs of it, 8 to 256 KiB long, chosen at
  /// random, so that reads anywhere go to all of them.
  private func makeStack(_ content: [UInt8], _ shape: StackShape) throws {
    var random = SplitMix64(seed: UInt64(shape.layers))
    var extents = [[LayerFabric.Extent]](repeating: [], count: shape.layers)
    var sector = 0
    let end = content.count / 512
    while sector < end {
      let length = min(Int.random(in: 16...512, using: &random), end - sector)
      let layer = Int.random(in: 0..<shape.layers, using: &random)
      if !shape.isHalf || Bool.random(using: &random) {
        extents[layer].append(
          .init(sector: UInt64(sector), content: Array(content[sector * 512..<(sector + length) * 512])))
      }
      sector += length
    }
    var lowers: [String] = []
    for (number, extents) in extents.enumerated() {
      var bytes = LayerFabric.committedLayer(extents, virtualSize: UInt64(content.count))
      if let codec = shape.codec { bytes = LayerFabric.zfile(bytes, .init(codec)) }
      try write("\(shape.name).\(number).lsmt", bytes)
      lowers.append(#"{"file":"\#(shape.name).\#(number).lsmt"}"#)
    }
    try write("\(shape.name).json", Array(#"{"lowers":[\#(lowers.joined(separator: ","))]}"#.utf8))
  }
}

/// One thing that can be made.
enum Product: ExpressibleByArgument {
  case raw
  case zfile(BlockCodec)
  case stack(StackShape)

  init?(argument: String) {
    switch argument {
    case "raw": self = .raw
    case "lz4.zf": self = .zfile(.lz4)
    case "zstd.zf": self = .zfile(.zstd)
    default:
      guard let shape = StackShape(argument) else { return nil }
      self = .stack(shape)
    }
  }
}

/// What a stack of layers is like.
struct StackShape {
  /// How it was written, which is also what its files are called.
  let name: String
  /// How its layers are compressed; `nil` for not at all.
  let codec: BlockCodec?
  /// Whether half of the disk is in no layer and reads as zeros.
  let isHalf: Bool
  /// How many layers it has.
  let layers: Int

  /// A shape as a user writes it; `nil` if it is none.
  init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2 || (parts.count == 3 && parts[1] == "half") else { return nil }
    switch parts[0] {
    case "plain": codec = nil
    case "lz4": codec = .lz4
    case "zstd": codec = .zstd
    default: return nil
    }
    guard let layers = Int(parts[parts.count - 1]), (1...255).contains(layers) else { return nil }
    self.layers = layers
    isHalf = parts.count == 3
    name = text
  }
}
