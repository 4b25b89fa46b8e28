import BlockCore
import BlockSim
import Images
import LinuxIO
import OverlayBD
import TestKit
import Testing

/// What a stack asks memory for is added up before any of it is taken.
@Suite struct StackMemoryTests {
  private func open(_ path: String) async throws -> Image {
    try await Image.open(
      ImageReference(.overlaybd, path, relativeTo: "/"),
      ImageOptions(isReadOnly: true, writesResultFile: false), .linux)
  }

  /// A layer of 4,000,000 entries that are holes: whoever loads them finds them damaged.
  private func largeLayer(_ scratch: Scratch) async throws -> String {
    let count: UInt64 = 4_000_000
    let path = scratch("large.lsmt")
    let blocks = LayerFabric.blocks(indexOffset: 4096, indexCount: count, virtualSize: 1 << 40)
    let file = try await HostServices.linux.files.create(path, byteCount: 8192 + count * 16)
    try await file.write(at: 0, from: blocks.header.span.bytes, isDurable: false)
    try await file.write(at: 4096 + count * 16, from: blocks.trailer.span.bytes, isDurable: false)
    return path
  }

  @Test(arguments: [9, 32, 255])
  func tooManyEntriesAreRefusedBeforeTheyAreLoaded(count: Int) async throws {
    let scratch = try Scratch()
    let layer = try await largeLayer(scratch)
    let lowers = [String](repeating: #"{"file": "\#(layer)"}"#, count: count).joined(separator: ",")
    try scratch.write("config.v1.json", text: #"{"lowers": [\#(lowers)]}"#)
    let error = await #expect(throws: BlockError.self) { try await self.open(scratch("config.v1.json")) }
    // Not "corrupt": no entry was looked at.
    #expect(error?.kind == .exhausted)
    let total = UInt64(count) * 4_000_000
    #expect(
      error?.cause == "together their indexes have \(total) entries, and 32000000 are allowed",
      "\(error?.description ?? "")")
  }

  /// A log counts with the layers beneath it, by its length.
  @Test func aLogCountsToo() async throws {
    let scratch = try Scratch()
    let pair = LayerFabric.writablePair([], virtualSize: 1 << 40)
    try scratch.write("data", pair.data)
    try scratch.write("index", pair.index)
    try LinuxFileSystem.resize(scratch("index"), to: 4096 + 16 * 32_000_000)
    try scratch.write("config.v1.json", text: #"{"upper": {"data": "data", "index": "index"}}"#)
    let error = await #expect(throws: BlockError.self) { try await self.open(scratch("config.v1.json")) }
    #expect(error?.cause.hasPrefix("together their indexes have 32000256 entries") == true)
  }

  @Test func aFileThatIsNamedTwiceIsLoadedOnce() async throws {
    let scratch = try Scratch()
    let layer = LayerFabric.committedLayer(
      [.init(sector: 3, content: [UInt8](repeating: 1, count: 512))], virtualSize: 1 << 20)
    let other = LayerFabric.committedLayer(
      [.init(sector: 3, content: [UInt8](repeating: 2, count: 1024))], virtualSize: 1 << 20)
    try scratch.write("a", layer)
    try scratch.write("b", other)
    let linked = try Program.run(["ln", scratch("a"), scratch("c")])
    #expect(linked.status == 0)
    try scratch.write(
      "config.v1.json", text: #"{"lowers": [{"file": "a"}, {"file": "b"}, {"file": "c"}, {"file": "a"}]}"#)
    let image = try await open(scratch("config.v1.json"))
    #expect(image.layers.map(\.path) == ["a", "b", "c", "a"].map { scratch($0) })
    let sources = image.layers.map { ObjectIdentifier($0.layer.sources[0]) }
    #expect(sources[0] == sources[2] && sources[0] == sources[3] && sources[0] != sources[1])
    // The topmost one hides what is beneath it.
    #expect(image.segmentCount == 2)
    let bytes = try await image.volume.read(at: 1536, byteCount: 1024, using: Workspace())
    #expect(bytes == [UInt8](repeating: 1, count: 512) + [UInt8](repeating: 2, count: 512))
  }

  /// A layer with terabytes of holes is verified by its data.
  @Test func verifySkipsHoles() async throws {
    let scratch = try Scratch()
    let path = scratch("sparse.lsmt")
    // 2^40 bytes of data, in the largest segments there are; a few of them hold something.
    let sectors: UInt64 = 16383
    let count: UInt64 = (1 << 40) / 512 / sectors
    var index: [UInt8] = []
    for number in 0..<count {
      let start = number * sectors
      index += LayerFabric.entry(offset: start, length: sectors, moffset: 8 + start)
    }
    let indexOffset = 4096 + count * sectors * 512
    let blocks = LayerFabric.blocks(indexOffset: indexOffset, indexCount: count, virtualSize: 1 << 40)
    let file = try await HostServices.linux.files.create(
      path, byteCount: indexOffset + UInt64(index.count) + 4096)
    try await file.write(at: 0, from: blocks.header.span.bytes, isDurable: false)
    try await file.write(
      at: 1 << 39, from: [UInt8](repeating: 1, count: 4096).span.bytes, isDurable: false)
    try await file.write(at: indexOffset, from: index.span.bytes, isDurable: false)
    try await file.write(
      at: indexOffset + UInt64(index.count), from: blocks.trailer.span.bytes, isDurable: false)
    let image = try await Image.open(
      ImageReference(nil, path, relativeTo: "/"), ImageOptions(isReadOnly: true, writesResultFile: false),
      .linux)
    let found = try await image.verify(taskCount: 2, Progress())
    #expect(found.isSound)
    #expect(found.uncheckedBytes > 0 && found.uncheckedBytes < 16 << 20, "\(found.uncheckedBytes)")
  }
}
