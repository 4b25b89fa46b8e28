import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

/// Tests with the real programs and real devices, one after the other: they look at what is left on the host.
@Suite(.serialized) struct SerialEndToEndTests {}

extension SerialEndToEndTests {
  /// What the original tools put into the images comes out of the devices.
  @Suite struct FixtureDeviceTests {
    @Test func everyImageReadsThroughItsDevice() async throws {
      _ = try await FixtureImages.open("lsmt/03-upper/config.sparse.v1.json")
      let instance = try Instance()
      for row in try Fixtures.table("images.tsv") {
        let device = try instance.attach("image", Fixtures.path(row[0]))
        #expect(try BlockDevice.byteCount(ofNode: device) == UInt64(row[1]), "\(row[0])")
        #expect(try Instance.sha256(ofDevice: device) == row[2], "\(row[0])")
        let info = try instance.inspect("image")
        #expect(info.readOnly && info.size == UInt64(row[1]) && info.requests?.failed == 0, "\(row[0])")
        try instance.detach("image")
      }
      try instance.expectNothingLeft()
    }

    @Test func everyImageIsExtractedAndVerified() throws {
      let instance = try Instance()
      for row in try Fixtures.table("images.tsv") {
        let out = instance.scratch("out.raw")
        let extract = try instance.ashlar("image", "extract", Fixtures.path(row[0]), out, "--force")
        #expect(extract.status == 0 && extract.output == "", "\(row[0]): \(extract.errors)")
        #expect(try Program.run(["sha256sum", out]).output.hasPrefix(row[2]), "\(row[0])")
        let verify = try instance.ashlar("image", "verify", Fixtures.path(row[0]))
        #expect(verify.status == 0 && verify.output.contains("sound"), "\(row[0]): \(verify.output)")
        #expect(try instance.ashlar("image", "info", Fixtures.path(row[0]), "--json").status == 0)
      }
    }

    @Test func everyDamagedImageFailsClearlyAndLeavesNothing() throws {
      let instance = try Instance()
      for row in try Fixtures.table("damaged.tsv") where row[0].hasSuffix(".lsmt") {
        let config = Fixtures.path(row[0].replacing(".lsmt", with: ".v1.json"))
        let attach = try instance.ashlar("attach", "--id", "bad", "--config", config)
        if attach.status == 0 {
          // What opens either reads or gives an I/O error; in no case does anything hang.
          let read = try Program.run(["dd", "if=\(attach.line)", "of=/dev/null", "bs=1M", "iflag=direct"])
          #expect(read.status == 0 || row[3].contains("rc=3"), "\(row): \(read.errors)")
          try instance.detach("bad")
        } else {
          #expect(attach.status == 1 && attach.output == "", "\(row)")
          #expect(attach.errors.contains("at byte") || row[0].contains("vsize-0"), "\(row): \(attach.errors)")
          #expect(
            !attach.errors.contains("Fatal") && attach.errors.split(separator: "\n").count == 1,
            "\(attach.errors)")
        }
      }
      try instance.expectNothingLeft()
    }

    @Test(arguments: [("config.l1.v1.json", "layer1.tree.json"), ("config.l2.v1.json", "layer2.tree.json")])
    func mountingShowsTheTree(config: String, tree: String) throws {
      let instance = try Instance()
      _ = try instance.attach("tree", Fixtures.path("ext4/\(config)"))
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let mount = try instance.ashlar("mount", "tree", directory)
      try #require(mount.status == 0, "\(mount.errors)")
      #expect(try Tree(at: directory).differences(to: Tree(fixture: "ext4/\(tree)")) == [])
      #expect(try instance.attachments().first?.mounts.map(\.directory) == [directory])
      #expect(try instance.ashlar("umount", "tree").status == 0)
      try instance.detach("tree")
      try instance.expectNothingLeft()
    }

    /// A TurboOCI layer over EROFS: what a kernel without ext4's habits reads.
    @Test func erofsMounts() throws {
      let instance = try Instance()
      _ = try instance.attach("erofs", Fixtures.path("turbo/config.erofs-gz.v1.json"))
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let mount = try instance.ashlar("mount", "erofs", directory)
      #expect(mount.status == 0, "\(mount.errors)")
      let files = try Program.run([
        "sh", "-c", "find \(directory) -type f | xargs -d '\\n' sha256sum | wc -l",
      ])
      #expect((Int(files.line) ?? 0) > 100, "\(files.errors)")
      #expect(try instance.ashlar("umount", directory).status == 0)
      try instance.detach("erofs")
    }
  }
}
