import BlockCore
import Glibc
import Images
import LinuxIO
import TestKit
import Testing

/// What upstream was seen to make of odd configurations, and what we make of them.
@Suite struct ConfiguredImageTests {
  private func open(
    _ path: String, writesResultFile: Bool = false
  ) async throws -> Image {
    try await Image.open(
      ImageReference(.overlaybd, path, relativeTo: "/"),
      ImageOptions(isReadOnly: true, writesResultFile: writesResultFile), .linux)
  }

  private func fixture(_ name: String) async throws -> Image {
    try await open(Fixtures.path("behaviour/\(name).v1.json"))
  }

  @Test(arguments: [
    ("reversed", "74b8a86eb462897369b48159cad8f46182b105ed0a6718914b78d6c474db7a5c"),
    ("missing-mid", "c110c3a6953462bf547dd6de741e1f667ad0355adb178ad761ca01392238a6dc"),
    ("dup", "1b486ae81037c8e88cd1bc4c6fc055d20f214db53e537be4391834421cc13a69"),
    ("minimal", "1b486ae81037c8e88cd1bc4c6fc055d20f214db53e537be4391834421cc13a69"),
    ("unknown", "1b486ae81037c8e88cd1bc4c6fc055d20f214db53e537be4391834421cc13a69"),
    ("digest-ignored", "1b486ae81037c8e88cd1bc4c6fc055d20f214db53e537be4391834421cc13a69"),
  ])
  func opensWhatUpstreamOpens(name: String, digest: String) async throws {
    #expect(try await Digest.sha256(of: try await fixture(name).volume) == digest)
  }

  @Test(arguments: [
    ("missing", BlockError.Kind.notFound, "repoBlobUrl"),
    ("none", .invalidArgument, "neither lowers nor an upper"),
    ("garbage", .corrupt, "not JSON"), ("badtype", .invalidArgument, "lowers"),
  ])
  func saysWhyItDoesNotOpen(name: String, kind: BlockError.Kind, words: String) async throws {
    let error = await #expect(throws: BlockError.self) { try await self.fixture(name) }
    #expect(error?.kind == kind)
    #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
  }

  @Test(arguments: ["overlaybd.commit", ".commit", "overlaybd.sealed"])
  func findsALayerInItsDirectory(name: String) async throws {
    let scratch = try Scratch()
    try scratch.write(name, try Fixtures.bytes("lsmt/01-single/single.lsmt"))
    try scratch.write("config.v1.json", text: #"{"lowers": [{"dir": "\#(scratch.path)"}]}"#)
    #expect(try await open(scratch("config.v1.json")).volume.geometry.byteCount == 64 << 20)
  }

  @Test func prefersTheFileToTheDirectory() async throws {
    let scratch = try Scratch()
    try scratch.write("overlaybd.commit", text: "broken")
    try scratch.write("good", try Fixtures.bytes("lsmt/01-single/single.lsmt"))
    try scratch.write("config.v1.json", text: #"{"lowers": [{"file": "good", "dir": "."}]}"#)
    #expect(try await open(scratch("config.v1.json")).layers[0].path == scratch("good"))
  }

  @Test(arguments: [254, 255, 256])
  func takesUpTo255Lowers(count: Int) async throws {
    let scratch = try Scratch()
    let layer = LayerFabric.committedLayer(
      [.init(sector: 3, content: [UInt8](repeating: 1, count: 512))], virtualSize: 1 << 20)
    try scratch.write("layer", layer)
    let lowers = [String](repeating: #"{"file": "layer"}"#, count: count).joined(separator: ",")
    try scratch.write("config.v1.json", text: #"{"lowers": [\#(lowers)]}"#)
    if count <= 255 {
      #expect(try await open(scratch("config.v1.json")).layers.count == count)
    } else {
      let error = await #expect(throws: BlockError.self) { try await self.open(scratch("config.v1.json")) }
      #expect(error?.kind == .exhausted)
    }
  }

  @Test func takesAWritableLayerOn255Lowers() async throws {
    let scratch = try Scratch()
    let layer = LayerFabric.committedLayer([], virtualSize: 1 << 20)
    let pair = LayerFabric.writablePair(
      [.init(sector: 0, content: [UInt8](repeating: 5, count: 512))], virtualSize: 0, tag: 255)
    try scratch.write("layer", layer)
    try scratch.write("data", pair.data)
    try scratch.write("index", pair.index)
    let lowers = [String](repeating: #"{"file": "layer"}"#, count: 255).joined(separator: ",")
    try scratch.write(
      "config.v1.json", text: #"{"lowers": [\#(lowers)], "upper": {"index": "index", "data": "data"}}"#)
    let image = try await open(scratch("config.v1.json"))
    #expect(image.volume.geometry.byteCount == 1 << 20 && image.volume.geometry.isReadOnly)
    #expect(
      try await image.volume.read(at: 0, byteCount: 512, using: Workspace())
        == [UInt8](repeating: 5, count: 512))
    // A size of 0 is inherited without being written back.
    #expect(try scratch.bytes("index") == pair.index && scratch.bytes("data") == pair.data)
  }

  @Test func leavesAnAccelerationLayerOut() async throws {
    let scratch = try Scratch()
    try scratch.write("layer", try Fixtures.bytes("lsmt/01-single/single.lsmt"))
    try scratch.write(
      "config.v1.json", text: #"{"lowers": [{"file": "layer"}, {"dir": "trace"}], "accelerationLayer": true}"#
    )
    let image = try await open(scratch("config.v1.json"))
    #expect(image.layers.count == 1 && image.notices.count == 1)
    try scratch.write(
      "both.v1.json",
      text: #"{"lowers": [{"file": "layer"}], "accelerationLayer": true, "recordTracePath": "t"}"#)
    await #expect(throws: BlockError.self) { try await self.open(scratch("both.v1.json")) }
  }

  // MARK: The result file

  /// What the result file holds after opening a configuration with these lowers.
  private func result(
    _ scratch: Scratch, _ lowers: String, rest: String = ""
  ) async throws -> String {
    try scratch.write("config.v1.json", text: #"{"lowers": \#(lowers), "resultFile": "result"\#(rest)}"#)
    _ = try? await open(scratch("config.v1.json"), writesResultFile: true)
    return String(decoding: try scratch.bytes("result"), as: UTF8.self)
  }

  @Test func writesUpstreamsWordsIntoTheResultFile() async throws {
    let scratch = try Scratch()
    let good = try Fixtures.bytes("lsmt/01-single/single.lsmt")
    try scratch.write("good", good)
    try scratch.write("bad", good.dropLast())
    try scratch.write("bad.zf", try Fixtures.bytes("damaged/z-hdr-digest.lsmt"))
    try scratch.write("bad.tar", try Fixtures.bytes("damaged/t-paxsize.lsmt"))
    #expect(try await result(scratch, #"[{"file": "good"}]"#) == "success")
    #expect(try await result(scratch, #"[{"file": "none"}]"#) == "failed:empty repoBlobUrl")
    #expect(try await result(scratch, #"[{"file": "bad"}]"#) == "failed:failed to create overlaybd device")
    #expect(try await result(scratch, #"[{"file": "bad.zf"}]"#) == "failed:failed to open switch file bad.zf")
    #expect(
      try await result(scratch, #"[{"file": "bad.tar"}]"#) == "failed:failed to open file as tar file bad.tar"
    )
    #expect(
      try await result(scratch, #"[{"file": "\#(scratch.path)"}]"#)
        == "failed:failed to open local file \(scratch.path)")
    #expect(
      try await result(scratch, #"[{"file": "good", "targetFile": "none"}]"#)
        == "failed:failed to open local data file none")
    #expect(
      try await result(scratch, #"[{"file": "good", "targetFile": "good", "gzipIndex": "none"}]"#)
        == "failed:failed to open gzip index none")
    #expect(
      try await result(scratch, #"[{"digest": "sha256:1"}]"#, rest: #", "repoBlobUrl": "https://h/blobs""#)
        == "failed:failed to open remote file /https://h/blobs/sha256:1: Function not implemented")
    #expect(try await result(scratch, "[]") == "failed:failed to create overlaybd device")
    // Upstream writes nothing when it cannot read the configuration; whoever waits for it waits for ever.
    #expect(try await result(scratch, "5") == "failed:failed to create overlaybd device")
    // The lowest layer's failure counts, however the layers were opened.
    #expect(
      try await result(scratch, #"[{"file": "good"}, {"file": "bad.zf"}, {"file": "none"}]"#)
        == "failed:failed to open switch file bad.zf")
  }

  @Test func saysThatTheResultFileCannotBeWritten() async throws {
    let scratch = try Scratch()
    try scratch.write("good", try Fixtures.bytes("lsmt/01-single/single.lsmt"))
    try scratch.write("config.v1.json", text: #"{"lowers": [{"file": "good"}], "resultFile": "no/such/dir"}"#)
    // The image is good, and whoever uses the disk has nothing to do with the file.
    let image = try await open(scratch("config.v1.json"), writesResultFile: true)
    #expect(image.notices.contains { $0.contains(scratch("no/such/dir")) })
  }

  /// Whatever name it is reached by, a file of the image is not written over; nor is what a link leads to, or what holds
  /// something else than an outcome.
  @Test(arguments: ["layer", "linked", "config.v1.json", "link", "fifo", "dir/.commit", "other", "short"])
  func theResultFileSparesTheImage(name: String) async throws {
    let scratch = try Scratch()
    let layer = try Fixtures.bytes("lsmt/01-single/single.lsmt")
    try scratch.write("layer", layer)
    #expect(link(scratch("layer"), scratch("linked")) == 0)
    try scratch.write("elsewhere", text: "kept")
    try scratch.write("other", text: "SQLite format 3")
    try scratch.write("short", text: "succes")
    #expect(symlink(scratch("elsewhere"), scratch("link")) == 0 && mkfifo(scratch("fifo"), 0o600) == 0)
    #expect(mkdir(scratch("dir"), 0o700) == 0)
    try scratch.write("dir/.commit", layer)
    let text = #"{"lowers": [{"file": "layer"}, {"dir": "dir"}], "resultFile": "\#(name)"}"#
    try scratch.write("config.v1.json", text: text)
    let image = try await open(scratch("config.v1.json"), writesResultFile: true)
    #expect(image.notices.contains { $0.contains("result file") }, "\(image.notices)")
    // Likewise where the configuration is no good.
    try scratch.write(
      "bad.v1.json",
      text: #"{"lowers": [{"file": "layer"}, {"dir": "dir"}], "upper": 5, "resultFile": "\#(name)"}"#)
    if name != "config.v1.json" {
      let error = await #expect(throws: BlockError.self) {
        try await self.open(scratch("bad.v1.json"), writesResultFile: true)
      }
      #expect(error?.cause.contains("writing the result file failed") == true, "\(error?.cause ?? "")")
    }
    #expect(try scratch.bytes("layer") == layer && scratch.bytes("dir/.commit") == layer)
    #expect(try scratch.bytes("config.v1.json") == Array(text.utf8))
    #expect(try scratch.bytes("elsewhere") == Array("kept".utf8))
    #expect(try scratch.bytes("other") == Array("SQLite format 3".utf8))
    #expect(try scratch.bytes("short") == Array("succes".utf8))
  }
}
