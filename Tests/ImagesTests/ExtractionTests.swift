import BlockCore
import BlockSim
import Images
import LinuxIO
import TestKit
import Testing

@Suite struct ExtractionTests {
  private func open(_ reference: String, _ services: HostServices = .linux) async throws -> Image {
    try await Image.open(
      try ImageReference(reference, relativeTo: "/"), ImageOptions(isReadOnly: true, writesResultFile: false),
      services)
  }

  @Test func aCopyIsEqualAndSparse() async throws {
    let scratch = try Scratch()
    let image = try await FixtureImages.open("lsmt/02-stack/config.v1.json")
    let progress = Progress()
    let extraction = try await image.extract(
      to: scratch("out.raw"), replaces: false, taskCount: 2, .linux, progress)
    let copy = try await open("raw:\(scratch("out.raw"))")
    #expect(
      try await Digest.sha256(of: copy.volume)
        == "53407265dd5e87f4494fad0f5502f541cae76e9670f27768e9bed8fd60fed49b")
    #expect(extraction.byteCount == 64 << 20)
    let allocated = try await copy.volume.dataExtents().reduce(0) { $0 + ($1.upperBound - $1.lowerBound) }
    #expect(allocated < 8 << 20 && extraction.writtenBytes <= allocated)
    #expect(progress.bytes.done == progress.bytes.total && progress.bytes.total > 0)
  }

  @Test func anExistingFileIsReplacedOnlyOnDemand() async throws {
    let scratch = try Scratch()
    try scratch.write("out.raw", text: "precious")
    let image = try await FixtureImages.open("lsmt/08-empty/config.v1.json")
    let error = await #expect(throws: BlockError.self) {
      try await image.extract(to: scratch("out.raw"), replaces: false, taskCount: 1, .linux, Progress())
    }
    #expect(error?.kind == .conflict)
    #expect(try scratch.bytes("out.raw") == Array("precious".utf8))
    _ = try await image.extract(to: scratch("out.raw"), replaces: true, taskCount: 1, .linux, Progress())
    #expect(try scratch.bytes("out.raw").count == 16 << 20)
  }

  @Test func filesOfTheImageAndOfWritersStay() async throws {
    let scratch = try Scratch()
    let directory = try scratch.copyFixture("lsmt/08-empty")
    let image = try await open("\(directory)/config.v1.json")
    for path in image.layers.map(\.path) + ["\(directory)/config.v1.json"] {
      let before = LinuxFileSystem.identity(of: path)
      let error = await #expect(throws: BlockError.self) {
        try await image.extract(to: path, replaces: true, taskCount: 1, .linux, Progress())
      }
      #expect(error?.kind == .conflict && error?.cause.contains("the image itself") == true, "\(path)")
      #expect(LinuxFileSystem.identity(of: path) == before)
    }
    try scratch.write("live.img", [UInt8](repeating: 1, count: 4096))
    let writer = try LinuxFile(scratch("live.img"), for: .readWrite)
    let error = await #expect(throws: BlockError.self) {
      try await image.extract(to: scratch("live.img"), replaces: true, taskCount: 1, .linux, Progress())
    }
    #expect(error?.kind == .busy && error?.object == scratch("live.img"))
    // Nor is it overwritten by what a configuration calls its result file.
    let overwriting = await #expect(throws: BlockError.self) {
      try await LinuxFileSystem().writeResultFile(scratch("live.img"), [], sparing: [])
    }
    #expect(overwriting?.kind == .busy)
    #expect(try scratch.bytes("live.img") == [UInt8](repeating: 1, count: 4096))
    #expect(LinuxFileSystem.identity(of: scratch("live.img")) == writer.identity)
  }

  /// Whatever fails, and whenever: no file under the name, and no temporary one beside it.
  @Test func aFailureLeavesNothing() async throws {
    let disk = SimulatedDisk(seed: 1)
    let services = HostServices.simulated(disk: disk, seed: 1)
    let content = OpsScript.content("rand", 1, 64 << 10)
    disk.add("/layer", LayerFabric.committedLayer([.init(sector: 8, content: content)], virtualSize: 1 << 20))
    disk.add("/config.json", Array(#"{"lowers": [{"file": "layer"}]}"#.utf8))
    var failures: UInt64 = 0
    while true {
      let image = try await open("/config.json", services)
      disk.failOperation(failures + 1, as: .noSpace)
      do {
        _ = try await image.extract(to: "/out", replaces: false, taskCount: 1, services, Progress())
        break
      } catch {
        #expect(error.kind == .noSpace, "operation \(failures + 1): \(error)")
      }
      disk.failOperation(nil)
      #expect(!disk.exists("/out"))
      #expect(disk.paths.filter { $0.contains("partial") } == [], "operation \(failures + 1)")
      failures += 1
    }
    disk.failOperation(nil)
    #expect(failures >= 4)
    let copy = try await open("raw:/out", services)
    #expect(try await copy.volume.read(at: 8 * 512, byteCount: content.count, using: Workspace()) == content)
  }
}

@Suite struct VerificationTests {
  private func verify(_ path: String) async throws -> Image.Verification {
    try await FixtureImages.open(path).verify(taskCount: 2, Progress())
  }

  @Test(arguments: FixtureImageNames.all)
  func soundImagesAreSound(name: String) async throws {
    let verification = try await verify(name)
    #expect(verification.isSound, "\(verification.findings)")
  }

  @Test func findsEveryBadBlock() async throws {
    let verification = try await verify("damaged/z-block-flip.v1.json")
    #expect(!verification.isSound)
    #expect(
      verification.findings.contains { $0.severity == .damage && $0.text.contains("block 2 at byte 3358") })
    #expect(verification.checkedBytes > 0)
  }

  @Test func warnsOfWhatIsNotSeen() async throws {
    let small = try await verify("damaged/vsize-small.v1.json")
    #expect(
      small.isSound && small.findings.contains { $0.severity == .warning && $0.text.contains("beyond") })
    let empty = try await verify("damaged/idx-size-0.v1.json")
    #expect(empty.isSound && empty.findings.contains { $0.severity == .warning && $0.text.contains("empty") })
    let chain = try await verify("behaviour/reversed.v1.json")
    #expect(chain.isSound && chain.findings.contains { $0.text.contains("parent UUID") })
  }

  @Test func seesDamageInTheTarOfATurboLayer() async throws {
    let scratch = try Scratch()
    for name in ["turbo", "ext4"] { try scratch.copyFixture(name) }
    let target = scratch("turbo/layer.tar.gz")
    var bytes = try scratch.bytes("turbo/layer.tar.gz")
    bytes[bytes.count / 2] ^= 0xFF
    try scratch.write("turbo/layer.tar.gz", bytes)
    let image = try await Image.open(
      ImageReference(nil, scratch("turbo/config.ext4-gz.v1.json"), relativeTo: "/"),
      ImageOptions(isReadOnly: true, writesResultFile: false), .linux)
    let verification = try await image.verify(taskCount: 2, Progress())
    #expect(!verification.isSound)
    #expect(verification.findings.contains { $0.severity == .damage && $0.file.contains(target) })
  }
}

enum FixtureImageNames {
  static let all = ((try? Fixtures.table("images.tsv")) ?? []).map { $0[0] }
}
