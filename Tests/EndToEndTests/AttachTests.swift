import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// Attach, detach, list, inspect, mount: what a user relies on.
  @Suite struct AttachTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")

    @Test func attachPrintsTheDeviceAndNothingElse() throws {
      let instance = try Instance()
      let outcome = try instance.ashlar("attach", "--id", "demo", "--config", config)
      #expect(outcome.status == 0 && outcome.output == outcome.line + "\n" && outcome.errors == "")
      let info = try instance.inspect("demo")
      #expect(info.id.text == "demo" && info.device == outcome.line && info.transport == "fuse")
      #expect(info.state == .attached && info.readOnly && info.layers == 2 && info.format == "overlaybd")
      let server = try #require(info.server?.pid)
      #expect(instance.serverPids() == [server])
      // Promised to somebody, it is no longer the first to go when memory is short, but the last where we may say so.
      let rank = "/proc/\(server)/oom_score_adj"
      #expect(Waiting.until { SmallFile.text(rank) != "1000" })
      let usual = try mayGoLast() ? "-900" : SmallFile.text("/proc/self/oom_score_adj")
      #expect(SmallFile.text(rank) == usual)
      let link = try #require(info.link)
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == outcome.line)
      #expect(BlockDevice.attribute("loop/dio", of: String(outcome.line.dropFirst(5))) == "1")
      try instance.detach("demo")
      try instance.expectNothingLeft()
      #expect(try instance.ashlar("ls", "--json").line == "[]")
    }

    /// Whether a process of ours has CAP_SYS_RESOURCE, bit 24 of capabilities(7).
    private func mayGoLast() throws -> Bool {
      let status = try #require(SmallFile.text("/proc/self/status"))
      let capabilities = status.firstMatch(of: #/CapEff:\s+([0-9a-f]+)/#).flatMap { UInt64($0.1, radix: 16) }
      return try #require(capabilities) & 1 << 24 != 0
    }

    @Test func theSameAgainIsTheSameDevice() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      #expect(try instance.attach("demo", config) == device)
      // Spelled in another way, it is the same file still.
      let relative = try instance.ashlar(
        ["attach", "--id", "demo", "./../ext4/config.l2.v1.json"], directory: Fixtures.path("ext4"))
      #expect(relative.line == device, "\(relative.errors)")
      let link = instance.scratch("link.json")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: config)
      #expect(try instance.attach("demo", link) == device)
      #expect(try instance.attachments().count == 1)
    }

    @Test func somethingElseUnderTheIDIsAnError() throws {
      let instance = try Instance()
      for name in ["lsmt", "ext4"] { try instance.scratch.copyFixture(name) }
      let own = instance.scratch("ext4/config.l1.v1.json")
      _ = try instance.attach("demo", own)
      for arguments in [
        [config], [own, "--read-only"], [own, "--transport", "fuse"],
      ] {
        let outcome = try instance.ashlar(["attach", "--id", "demo"] + arguments)
        #expect(outcome.status == 1 && outcome.output == "", "\(arguments)")
        #expect(outcome.errors.contains("stands for something else"), "\(outcome.errors)")
      }
      var text = try String(contentsOfFile: own, encoding: .utf8)
      text += "\n"
      try text.write(toFile: own, atomically: true, encoding: .utf8)
      let outcome = try instance.ashlar("attach", "--id", "demo", own)
      #expect(outcome.status == 1 && outcome.errors.contains("has changed"), "\(outcome.errors)")
    }

    @Test func aStartedManagerStays() throws {
      let instance = try Instance()
      _ = try instance.ashlar("ls")
      let start = try instance.ashlar("daemon", "start")
      #expect(start.status == 0 && start.errors.contains("stays"))
      let pid = try instance.managerPid()
      // Who says nothing, or half of what he has to say, is not kept for ever.
      let silent = try RawConnection("\(instance.run)/ashlard.sock")
      let half = try RawConnection("\(instance.run)/ashlard.sock")
      #expect(
        half.ask("POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{", seconds: 0) == nil)
      sleep(12)
      #expect(silent.ask("", seconds: 1) == "" && half.ask("", seconds: 1) == "")
      #expect(try instance.ashlar("daemon", "status").status == 0)
      #expect(try instance.managerPid() == pid)
    }

    @Test func detachingWhatIsNotThereIsDone() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("detach", "--id", "nobody").status == 0)
      let inspect = try instance.ashlar("inspect", "nobody")
      #expect(inspect.status == 1 && inspect.errors.contains("nothing is attached"))
    }

    @Test func aMountedDeviceIsNotDetached() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      #expect(try instance.ashlar("mount", "demo", directory).status == 0)
      let detach = try instance.ashlar("detach", "--id", "demo")
      #expect(detach.status == 1 && detach.errors.contains("mounted at \(directory)"), "\(detach.errors)")
      #expect(try instance.inspect("demo").state == .attached)
      // By force it goes when the mount goes, and by itself.
      let forced = try instance.ashlar("detach", "--id", "demo", "--force")
      #expect(forced.status == 0 && forced.errors.contains("still in use"), "\(forced.errors)")
      #expect(try instance.inspect("demo").state == .detaching)
      #expect(try Program.run(["find", directory, "-type", "f"]).status == 0)
      let again = try instance.ashlar("attach", "--id", "demo", config)
      #expect(again.status == 1 && again.errors.contains("being detached"), "\(again.errors)")
      #expect(try Program.run(["umount", directory]).status == 0)
      for _ in 0..<100 {
        if try instance.attachments().isEmpty { break }
        usleep(50_000)
      }
      try instance.expectNothingLeft()
      #expect(BlockDevice.attribute("loop/backing_file", of: String(device.dropFirst(5))) == nil)
    }

    /// Mounted where the manager does not look, as in a container: that is seen, and nobody is killed for it.
    @Test func aDeviceInAnotherNamespaceIsInUse() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["sh", "-c", "truncate -s 64M \(path) && mkfs.ext4 -q \(path)"]).status == 0)
      let device = try instance.attach("ns", "raw:\(path)")
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let container = Process()
      container.executableURL = URL(filePath: "/usr/bin/unshare")
      let script = "mount \(device) \(directory) && touch \(directory)/ready && exec sleep 600"
      container.arguments = ["-m", "--propagation", "private", "sh", "-c", script]
      try container.run()
      defer { kill(container.processIdentifier, SIGKILL) }
      let inside = "/proc/\(container.processIdentifier)/root\(directory)"
      for _ in 0..<100 where access("\(inside)/ready", F_OK) != 0 { usleep(50_000) }
      let detach = try instance.ashlar("detach", "--id", "ns")
      #expect(
        detach.status == 1 && detach.errors.contains("\(directory) in the namespace of"), "\(detach.errors)")
      #expect(try instance.inspect("ns").state == .attached)
      let forced = try instance.ashlar("detach", "--id", "ns", "--force")
      #expect(forced.status == 0 && forced.errors.contains("still in use"), "\(forced.errors)")
      try "written".write(toFile: "\(inside)/after", atomically: false, encoding: .utf8)
      #expect(try Program.run(["sync", "-f", inside]).status == 0)
      kill(container.processIdentifier, SIGKILL)
      container.waitUntilExit()
      for _ in 0..<100 {
        if try instance.attachments().isEmpty { break }
        usleep(50_000)
      }
      try instance.expectNothingLeft()
      #expect(try Program.run(["e2fsck", "-fn", path]).status == 0)
    }

    /// A device beneath another one, and one that is written to twice.
    @Test func whatStandsOnADeviceUsesIt() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "64M", path]).status == 0)
      let device = try instance.attach("lower", "raw:\(path)")
      let twice = try instance.ashlar("attach", "--id", "twice", "raw:\(path)")
      #expect(twice.status == 1 && twice.errors.contains("open for writing"), "\(twice.errors)")
      let loop = try Program.run(["losetup", "-f", "--show", device]).line
      let detach = try instance.ashlar("detach", "--id", "lower")
      #expect(detach.status == 1 && detach.errors.contains("used by \(loop)"), "\(detach.errors)")
      #expect(try Program.run(["losetup", "-d", loop]).status == 0)
      try instance.detach("lower")
      try instance.expectNothingLeft()
    }

    @Test func aDeviceThatIsOpenNamesItsOpener() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let process = Process()
      process.executableURL = URL(filePath: "/bin/sleep")
      process.arguments = ["600"]
      process.standardInput = try FileHandle(forReadingFrom: URL(filePath: device))
      try process.run()
      defer { kill(process.processIdentifier, SIGKILL) }
      try (process.standardInput as? FileHandle)?.close()
      let detach = try instance.ashlar("detach", "--id", "demo")
      #expect(
        detach.status == 1 && detach.errors.contains("sleep (pid \(process.processIdentifier))"),
        "\(detach.errors)")
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      try instance.detach("demo")
      try instance.expectNothingLeft()
    }

    @Test func aRawFileIsWritable() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "64M", path]).status == 0)
      var device = try instance.attach("raw", "raw:\(path)")
      #expect(try Program.run(["mkfs.ext4", "-q", device]).status == 0)
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let mount = try instance.ashlar("mount", "raw", directory)
      #expect(mount.status == 0, "\(mount.errors)")
      #expect(try Program.run(["cp", "-r", Fixtures.path("lsmt"), directory]).status == 0)
      #expect(try Program.run(["sync", "-f", directory]).status == 0)
      let requests = try #require(try instance.inspect("raw").requests)
      #expect(requests.writes > 0 && requests.flushes > 0 && requests.failed == 0)
      #expect(try instance.ashlar("umount", directory).status == 0)
      try instance.detach("raw")
      #expect(try Program.run(["e2fsck", "-fn", path]).status == 0)

      device = try instance.attach("again", "raw:\(path)", "--read-only")
      #expect(BlockDevice.attribute("ro", of: String(device.dropFirst(5))) == "1")
      #expect(try instance.ashlar("mount", "again", directory).status == 0)
      #expect(try Program.run(["diff", "-r", Fixtures.path("lsmt"), "\(directory)/lsmt"]).status == 0)
      #expect(try instance.ashlar("umount", "again").status == 0)
      try instance.detach("again")
    }

    /// fio writes, trims and checks what it reads, by its own checksums.
    @Test func fioFindsWhatItWrote() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "32M", path]).status == 0)
      let device = try instance.attach("raw", "raw:\(path)")
      let fio = try Program.run(
        [
          "fio", "--name=v", "--filename=\(device)", "--ioengine=libaio", "--direct=1", "--rw=randwrite",
          "--bs=4k",
          "--iodepth=16", "--size=32M", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
          "--randseed=7",
        ])
      #expect(fio.status == 0, "\(fio.output)\(fio.errors)")
      let trim = try Program.run(
        [
          "fio", "--name=t", "--filename=\(device)", "--ioengine=libaio", "--direct=1", "--rw=randtrimwrite",
          "--bs=64k", "--iodepth=8", "--size=32M", "--randseed=8",
        ])
      #expect(trim.status == 0, "\(trim.output)\(trim.errors)")
      #expect(try instance.inspect("raw").requests?.failed == 0)
      try instance.detach("raw")
    }

    @Test func aPartitionIsMounted() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      let script = """
        truncate -s 64M \(path) && printf 'label: gpt\\n,8M\\n,32M\\n' | sfdisk -q \(path) &&
        mkfs.ext4 -q -E offset=$((9 * 1048576)) \(path) 32M
        """
      let made = try Program.run(["sh", "-c", script])
      try #require(made.status == 0, "\(made.errors)")
      _ = try instance.attach("parts", "raw:\(path)")
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let missing = try instance.ashlar("mount", "parts", directory, "--partition", "7")
      #expect(missing.status == 1 && missing.errors.contains("partition 7"), "\(missing.errors)")
      let whole = try instance.ashlar("mount", "parts", directory)
      #expect(whole.status == 1 && whole.errors.contains("--partition"), "\(whole.errors)")
      let mount = try instance.ashlar("mount", "parts", directory, "--partition", "2")
      #expect(mount.status == 0, "\(mount.errors)")
      #expect(try instance.ashlar("detach", "--id", "parts").errors.contains("mounted at"))
      #expect(try instance.ashlar("umount", "parts").status == 0)
      try instance.detach("parts")
      try instance.expectNothingLeft()
    }

    @Test func doctorSaysWhatAutoChooses() throws {
      let instance = try Instance()
      let outcome = try instance.ashlar("doctor", "--json")
      #expect(outcome.status == 0)
      let report = try JSONDecoder().decode(HostSupport.Report.self, from: Data(outcome.output.utf8))
      #expect(report.choice == "fuse" && report.needed.allSatisfy(\.isAvailable))
      #expect(try instance.ashlar("doctor").output.contains("auto chooses fuse"))
    }

    @Test func theManagersInterfaceIsCurlable() throws {
      let instance = try Instance()
      _ = try instance.attach("demo", config)
      let socket = "\(instance.run)/ashlard.sock"
      let curl = try Program.run([
        "curl", "-sS", "--unix-socket", socket, "http://ashlar/v1/attachments/demo",
      ])
      let info = try JSONDecoder().decode(AttachmentInfo.self, from: Data(curl.output.utf8))
      #expect(info.state == .attached)
      let missing = try Program.run(
        ["curl", "-sS", "-w", "%{http_code}", "--unix-socket", socket, "http://ashlar/v1/attachments/none"])
      #expect(missing.output.hasSuffix("404") && missing.output.contains(#""kind":"notFound""#))
    }
  }
}
