import Attachments
import BlockCore
import BlockSim
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// Processes that die: at any moment of an attach, and under load.
  @Suite struct KillTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")

    private func sum() throws -> String {
      let row = try Fixtures.table("images.tsv").first { $0[0] == "ext4/config.l2.v1.json" }
      return try #require(row)[2]
    }

    /// kill -9 at a random moment of an attach: what the next command finds is clean or adopted.
    @Test(arguments: ["the manager", "the data server"])
    func aKillDuringAnAttachLeavesACleanOrAnAdoptedState(victim: String) throws {
      let instance = try Instance()
      let wanted = try sum()
      var random = SplitMix64(seed: Seed.of("kill \(victim) during an attach"))
      // ASHLAR_LONG=1 is for `make test-long`.
      for round in 1...(ProcessInfo.processInfo.environment["ASHLAR_LONG"] == "1" ? 200 : 10) {
        let manager = try instance.managerPid()
        let attach = Process()
        attach.executableURL = URL(filePath: Instance.command)
        attach.arguments = ["attach", "--id", "victim", config]
        attach.environment = ProcessInfo.processInfo.environment.merging(
          ["ASHLAR_ROOT": instance.root, "ASHLAR_RUN": instance.run]) { $1 }
        attach.standardOutput = FileHandle.nullDevice
        attach.standardError = FileHandle.nullDevice
        try attach.run()
        // An attach takes some 50 ms; some of the blows fall before it and some behind.
        usleep(UInt32(random.next() % 80_000))
        let victims = victim == "the manager" ? [manager] : instance.serverPids()
        let identities = victims.compactMap(ProcessIdentity.init(pid:))
        for pid in victims { kill(pid, SIGKILL) }
        attach.waitUntilExit()
        while identities.contains(where: \.isAlive) { usleep(1000) }

        let found = try instance.attachments()
        #expect(found.count <= 1, "round \(round)")
        for info in found where info.state == .attached {
          let device = try #require(info.device)
          #expect(try Instance.sha256(ofDevice: device) == wanted, "round \(round)")
        }
        // What failed, or lives, or never came to be: an attach makes it whole.
        let device = try instance.attach("victim", config)
        #expect(try Instance.sha256(ofDevice: device) == wanted, "round \(round)")
        try instance.detach("victim")
        try instance.expectNothingLeft()
      }
    }

    /// A manager that is killed is not missed by a device, and the next one takes the device over.
    @Test func aDeviceOutlivesItsManagers() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "64M", path]).status == 0)
      let device = try instance.attach("disk", "raw:\(path)")
      let fio = Process()
      fio.executableURL = URL(filePath: "/usr/bin/fio")
      fio.arguments = [
        "--name=v", "--filename=\(device)", "--ioengine=libaio", "--direct=1", "--rw=randwrite", "--bs=4k",
        "--iodepth=16", "--size=64M", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
        "--time_based", "--runtime=8",
      ]
      let log = try instance.scratch.write("fio.log", text: "")
      fio.standardOutput = try FileHandle(forWritingTo: URL(filePath: log))
      try fio.run()
      #expect(Waiting.until { ((try? instance.inspect("disk"))?.requests?.writes ?? 0) > 0 })
      for round in 1...6 {
        usleep(300_000)
        if round % 2 == 0 {
          #expect(try instance.ashlar("daemon", "stop").status == 0)
        } else {
          kill(try instance.managerPid(), SIGKILL)
        }
        let info = try instance.inspect("disk")
        #expect(info.state == .attached && info.device == device, "round \(round)")
        // What the new manager knows of it comes from its server, not from a journal alone.
        #expect(info.size == 64 << 20 && (info.requests?.writes ?? 0) > 0, "round \(round)")
        #expect(try instance.attach("disk", "raw:\(path)") == device)
      }
      fio.waitUntilExit()
      let said = String(decoding: try instance.scratch.bytes("fio.log"), as: UTF8.self)
      #expect(fio.terminationStatus == 0, "\(said)")
      #expect(try instance.inspect("disk").requests?.failed == 0)
      try instance.detach("disk")
      try instance.expectNothingLeft()
    }

    /// A data server that is slow to answer is not taken for a dead one: its disk may be in use.
    @Test func aSilentDataServerIsLeftAlone() throws {
      let instance = try Instance()
      let device = try instance.attach("slow", config)
      let wanted = try sum()
      let server = try #require(try instance.inspect("slow").server?.pid)
      kill(server, SIGSTOP)
      defer { kill(server, SIGCONT) }
      #expect(try instance.ashlar("ls").errors.contains("data server (process \(server)) is stopped"))
      kill(try instance.managerPid(), SIGKILL)
      let found = try instance.attachments()
      #expect(found.first?.state == .attached && found.first?.problem?.contains("not answered") == true)
      #expect(found.first?.size == 64 << 20 && found.first?.readOnly == true && found.first?.device == device)
      kill(server, SIGCONT)
      #expect(try Instance.sha256(ofDevice: device) == wanted)
      let info = try instance.inspect("slow")
      #expect(info.problem == nil && info.requests?.failed == 0 && info.server?.pid == server)
      // One that hangs for good is ended by force.
      kill(server, SIGSTOP)
      let detach = try instance.ashlar("detach", "--id", "slow")
      #expect(detach.status == 1 && detach.errors.contains("process \(server)"), "\(detach.errors)")
      try instance.detach("slow", "--force")
      try instance.expectNothingLeft()
    }

    /// A configuration of the largest size that is read.
    @Test func aLargeConfigurationIsAttached() throws {
      let instance = try Instance()
      try instance.scratch.copyFixture("ext4")
      let path = instance.scratch("ext4/config.l2.v1.json")
      var text = try String(contentsOfFile: path, encoding: .utf8)
      text += String(repeating: " \n", count: (Limits.imageConfigBytes - text.utf8.count) / 2)
      try text.write(toFile: path, atomically: true, encoding: .utf8)
      _ = try instance.attach("large", path)
      kill(try instance.managerPid(), SIGKILL)
      #expect(try instance.inspect("large").state == .attached)
      try instance.detach("large")
      try instance.scratch.write("ext4/config.l2.v1.json", text: text + "  ")
      let tooLarge = try instance.ashlar("attach", "--id", "large", path)
      #expect(
        tooLarge.status == 1 && tooLarge.errors.contains("\(Limits.imageConfigBytes)"), "\(tooLarge.errors)")
      try instance.expectNothingLeft()
    }

    /// A data server that is killed takes its own disk with it and nothing else; nothing hangs.
    @Test func aDeadDataServerFailsItsDeviceAlone() throws {
      let instance = try Instance()
      let wanted = try sum()
      _ = try instance.attach("dead", config)
      let other = try instance.attach("other", config)
      let directory = instance.scratch("mnt")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      #expect(try instance.ashlar("mount", "dead", directory).status == 0)
      kill(try #require(try instance.inspect("dead").server?.pid), SIGKILL)
      var info = try instance.inspect("dead")
      for _ in 0..<100 where info.problem?.contains("signal 9") != true {
        usleep(20_000)
        info = try instance.inspect("dead")
      }
      #expect(info.state == .failed && info.problem?.contains("signal 9") == true && info.mounts.count == 1)
      // Nobody of ours has sent that signal.
      #expect(info.problem?.contains("(out of memory?)") == true)
      #expect(try instance.ashlar("ls").errors.contains("the data server is gone"))
      #expect(try Instance.sha256(ofDevice: other) == wanted)
      // In use, it is not attached again under its users; when they are done, it is.
      let again = try instance.ashlar("attach", "--id", "dead", config)
      #expect(again.status == 1 && again.errors.contains("mounted at"), "\(again.errors)")
      #expect(try instance.ashlar("umount", directory).status == 0)
      let device = try instance.attach("dead", config)
      #expect(try Instance.sha256(ofDevice: device) == wanted)
      try instance.detach("dead")
      try instance.detach("other")
      try instance.expectNothingLeft()
    }

    /// Manager and data server die together: the next manager cleans up.
    @Test func everythingDiesAtOnce() throws {
      let instance = try Instance()
      let wanted = try sum()
      _ = try instance.attach("gone", config)
      let pids = instance.serverPids() + [try instance.managerPid()]
      for pid in pids { kill(pid, SIGKILL) }
      #expect(try instance.attachments() == [])
      try instance.expectNothingLeft()
      let device = try instance.attach("gone", config)
      #expect(try Instance.sha256(ofDevice: device) == wanted)
      try instance.detach("gone")
    }

    /// Somebody takes the loop device apart behind our back.
    @Test func aDeviceTakenApartByOthersIsForgotten() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      #expect(try Program.run(["losetup", "-d", device]).status == 0)
      try instance.detach("demo")
      try instance.expectNothingLeft()
    }

    /// A manager of earlier days left rows of another boot; nothing of what they name is touched.
    @Test func rowsOfAnotherBootAreForgotten() throws {
      let instance = try Instance()
      let wanted = try sum()
      let device = try instance.attach("keep", config)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      try instance.execute(
        "UPDATE attachment SET bootID = 'another', id = 'old', exportName = 'ashlar-old-1'")
      // The disk is still there: it is not what the row speaks of, and nobody knows of it now.
      let found = try instance.attachments()
      #expect(found.map(\.id.text) == ["keep"] && found.map(\.state) == [.unknown], "\(found)")
      #expect(try Instance.sha256(ofDevice: device) == wanted)
      for pid in instance.serverPids() { kill(pid, SIGKILL) }
      for name in SmallFile.entries("\(instance.run)/servers") { unlink("\(instance.run)/servers/\(name)") }
      unlink("\(instance.run)/dev/keep")
    }

    /// A program that nobody asks how it has ended leaves a backtrace, by which its stage fails.
    @Test func aCrashIsSeen() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        cd \(Fixtures.path("..")) && export ASHLAR_CRASHES=\(instance.scratch("crashes"))
        . scripts/crashes && watch_for_crashes && ulimit -c 0
        if crashes_seen before; then exit 10; fi
        ashlard manage & manager=$!
        until [ -S "$ASHLAR_RUN/ashlard.sock" ]; do kill -0 $manager || exit 11; sleep 0.1; done
        # It goes on after a signal that somebody sends.
        kill -ILL $manager
        until grep -qs 'Thread 0' "$ASHLAR_CRASHES"/*; do kill -0 $manager || exit 12; sleep 0.1; done
        kill -KILL $manager
        crashes_seen after
        """)
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.errors.contains("after: a program has crashed"), "\(outcome.errors)")
      #expect(outcome.errors.contains("Illegal instruction"), "\(outcome.errors)")
    }
  }
}
