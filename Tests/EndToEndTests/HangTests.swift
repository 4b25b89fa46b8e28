import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What stands on a disk that does not answer: every command comes to an end, and says what is true.
  @Suite struct HangTests {
    /// A file system on a disk of another instance, whose data server is stopped when it is to hang.
    private final class Stall {
      let instance = try? Instance()
      let scratch: Scratch
      private var server: Int32 = 0

      /// Puts a fixture's layer onto the disk; nothing of the file system is cached.
      init() throws {
        scratch = try Scratch()
        let instance = try #require(instance)
        let image = instance.scratch("disk.img")
        #expect(
          try Program.run(["sh", "-c", "truncate -s 64M \(image) && mkfs.ext4 -q \(image)"]).status == 0)
        let device = try instance.attach("stall", "raw:\(image)")
        server = try #require(try instance.inspect("stall").server?.pid)
        let copy = """
          mkdir -p \(mnt) && mount \(device) \(mnt) && mkdir \(mnt)/deep \
          && cp -r \(Fixtures.path("lsmt/01-single"))/. \(mnt)/deep/ && umount \(mnt) && mount \(device) \(mnt)
          """
        let outcome = try Program.run(["sh", "-c", copy])
        try #require(outcome.status == 0, "\(outcome.errors)")
      }

      var mnt: String { scratch("mnt") }

      func stop() { kill(server, SIGSTOP) }
      func goOn() { kill(server, SIGCONT) }

      deinit {
        goOn()
        _ = try? Program.run(["umount", "-l", mnt])
      }
    }

    /// A node may stand anywhere, as in a container: who has it open is seen, and a detach comes to its end.
    @Test func aUserByAnotherNodeIsSeen() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch("")); truncate -s 1M own.img
        device=$(ashlar attach --id a raw:own.img --read-only)
        mknod node b $(stat -c '0x%t 0x%T' $device)
        sleep 600 < node > /dev/null 2>&1 & user=$!
        trap 'kill -KILL $user' EXIT
        if ashlar detach --id a 2> said; then echo "it is detached"; exit 1; fi
        grep "open in sleep (pid $user)" said
        [ "$(ashlar ls --json | jq -r '.[].state')" = attached ]
        kill -KILL $(ashlar inspect --json a | jq .server.pid)
        timeout 60 ashlar detach --id a --force
        kill -KILL $user; trap - EXIT
        gone() { [ "$(ashlar ls --json | jq length)" = 0 ]; }
        for i in {1..100}; do ! gone || break; sleep 0.1; done; gone
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }

    /// A layer on a disk that hangs: the attach can be given up, and the manager stopped.
    @Test func aHungAttachHoldsUpNobody() throws {
      let stall = try Stall()
      defer { withExtendedLifetime(stall) {} }
      let instance = try Instance()
      let config = try instance.scratch.write(
        "config.json", text: #"{"lowers": [{"file": "\#(stall.mnt)/deep/single.lsmt"}]}"#)
      let manager = try instance.managerPid()
      stall.stop()
      let attach = try hangingAttach(instance, config)
      defer { attach.terminate() }
      let server = try #require(instance.serverPids().first)
      // Nobody depends on it yet: it is the first to go when memory is short.
      #expect(SmallFile.text("/proc/\(server)/oom_score_adj") == "1000")
      #expect(try instance.attachments().map(\.state) == [.attaching])

      // It waits where no signal reaches it: that is said, and what is left is shown.
      let begin = Date()
      let detach = try instance.ashlar("detach", "--id", "hang", "--force")
      #expect(Date().timeIntervalSince(begin) < 20)
      #expect(detach.status == 1 && detach.errors.contains("process \(server)"), "\(detach.errors)")
      let info = try #require(try instance.attachments().first)
      #expect(info.state == .detaching && info.problem?.contains("process \(server)") == true, "\(info)")
      attach.waitUntilExit()
      #expect(attach.terminationStatus == 1)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(ProcessIdentity(pid: manager) == nil)
      stall.goOn()
      #expect(Waiting.until { instance.serverPids().isEmpty })
      #expect(Waiting.until { (try? instance.attachments())?.isEmpty == true })
      try instance.expectNothingLeft()
    }

    /// A manager that is told to stop does not wait for an attach, and the next one undoes that.
    @Test func aStopDoesNotWaitForAnAttach() throws {
      let stall = try Stall()
      let instance = try Instance()
      let config = try instance.scratch.write(
        "config.json", text: #"{"lowers": [{"file": "\#(stall.mnt)/deep/single.lsmt"}]}"#)
      let other = try instance.attach("other", Fixtures.path("ext4/config.l2.v1.json"))
      stall.stop()
      let attach = try hangingAttach(instance, config)
      attach.terminate()
      // A client that does not finish what it has to say is not waited for, either.
      let half = try RawConnection("\(instance.run)/ashlard.sock")
      #expect(
        half.ask("POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{", seconds: 0) == nil)
      let begin = Date()
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(Date().timeIntervalSince(begin) < 8)
      stall.goOn()
      #expect(Waiting.until { (try? instance.attachments())?.map(\.id.text) == ["other"] })
      #expect(try instance.inspect("other").device == other)
      try instance.detach("other")
      try instance.expectNothingLeft()
    }

    /// A stopped data server with somebody who waits for it: it is seen, and detached by force, whoever waits gets an
    /// error.
    @Test func aStoppedServerIsDetachedUnderItsReader() throws {
      let instance = try Instance()
      let device = try instance.attach("hang", Fixtures.path("ext4/config.l2.v1.json"))
      let server = try #require(try instance.inspect("hang").server?.pid)
      kill(server, SIGSTOP)
      let reader = Process()
      reader.executableURL = URL(filePath: "/usr/bin/dd")
      reader.arguments = ["if=\(device)", "of=/dev/null", "bs=4k", "count=1", "iflag=direct"]
      reader.standardError = FileHandle.nullDevice
      try reader.run()
      let problem = "data server (process \(server)) is stopped"
      #expect(try instance.ashlar("ls").errors.contains(problem))
      #expect(try instance.ashlar("inspect", "hang").output.contains(problem))
      let begin = Date()
      let detach = try instance.ashlar("detach", "--id", "hang", "--force")
      #expect(detach.status == 0 && Date().timeIntervalSince(begin) < 40, "\(detach.errors)")
      reader.waitUntilExit()
      #expect(reader.terminationStatus != 0)
      #expect(Waiting.until { (try? instance.attachments())?.isEmpty == true })
      try instance.expectNothingLeft()
    }

    /// Begins an attach whose data server hangs.
    private func hangingAttach(_ instance: Instance, _ config: String) throws -> Process {
      let attach = Process()
      attach.executableURL = URL(filePath: Instance.command)
      attach.arguments = ["attach", "--id", "hang", "--config", config]
      attach.environment = ProcessInfo.processInfo.environment.merging(
        ["ASHLAR_ROOT": instance.root, "ASHLAR_RUN": instance.run]) { $1 }
      attach.standardOutput = FileHandle.nullDevice
      attach.standardError = FileHandle.nullDevice
      let before = Set(instance.serverPids())
      try attach.run()
      // It is in the kernel, and neither runs nor sleeps by itself.
      try #require(Waiting.until { instance.serverPids().contains { !before.contains($0) && hangs($0) } })
      return attach
    }

    /// Whether a thread of a process is in state D for longer than a moment.
    private func hangs(_ pid: Int32) -> Bool {
      (1...5).allSatisfy { _ in
        usleep(20_000)
        return SmallFile.entries("/proc/\(pid)/task").contains { task in
          let text = SmallFile.text("/proc/\(pid)/task/\(task)/stat") ?? ""
          return text[(text.lastIndex(of: ")") ?? text.startIndex)...].hasPrefix(") D")
        }
      }
    }
  }
}
