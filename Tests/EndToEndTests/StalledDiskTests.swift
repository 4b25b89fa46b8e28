import Attachments
import CLinux
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// A disk that does not answer holds up nobody but those who use it.
  @Suite struct StalledDiskTests {
    /// A file system with the file `disk.img`, whose server can be stopped.
    private final class StalledDisk {
      let image: String
      private let mountPoint: String
      private let server = Process()

      init(_ scratch: Scratch) throws {
        let backing = scratch("backing.img")
        mountPoint = scratch("stalled")
        image = "\(mountPoint)/disk.img"
        let program = scratch("stallfs")
        let source = URL(filePath: Fixtures.root).deletingLastPathComponent()
          .appending(path: "Tests/Kernel/lib/stallfs.c").path()
        let make = """
          set -e; truncate -s 64M \(backing); mkdir \(mountPoint)
          cc -o \(program) \(source) $(pkg-config --cflags --libs fuse3)
          """
        let made = try Program.run(["sh", "-c", make])
        try #require(made.status == 0, "\(made.errors)")
        server.executableURL = URL(filePath: program)
        server.arguments = [backing, mountPoint, "-f"]
        try server.run()
        for _ in 0..<500 where !FileManager.default.fileExists(atPath: image) { usleep(10_000) }
        try #require(FileManager.default.fileExists(atPath: image))
      }

      func stop() { kill(server.processIdentifier, SIGSTOP) }

      func goOn() { kill(server.processIdentifier, SIGCONT) }

      deinit {
        goOn()
        _ = try? Program.run(["umount", "-l", mountPoint])
        server.terminate()
        server.waitUntilExit()
      }
    }

    /// The attacher leaves it to the manager, who has a deadline, to wait for a layer.
    @Test func theAttacherBeginsWhateverALayerDoes() throws {
      let instance = try Instance()
      let stalled = try StalledDisk(instance.scratch)
      let config = try instance.scratch.write(
        "config.v1.json", text: #"{"lowers": [{"file": "\#(stalled.image)"}]}"#)
      stalled.stop()
      defer { stalled.goOn() }
      let outcome = try instance.shell(
        """
        cd \(instance.scratch("")); mkdir -p \(instance.scratch("bin")); ln -s \(Instance.command) \(instance.scratch("bin"))/overlaybd-attacher
        overlaybd-attacher attach --id h --transport fuse --config \(config) -v 2> said & attacher=$!
        for i in {1..500}; do grep -q "try 1 of 5" said && break; sleep 0.01; done
        kill $attacher; cat said
        """)
      #expect(outcome.output.contains("try 1 of 5"), "\(outcome.output)\(outcome.errors)")
      stalled.goOn()
      _ = try instance.ashlar("detach", "--id", "h", "--force")
      try instance.expectNothingLeft()
    }

    /// How long something takes, in twenty tries.
    private struct Timing {
      private let milliseconds: [Double]

      init(_ once: () throws -> Double) rethrows {
        milliseconds = try (0..<20).map { _ in try once() }.sorted()
      }

      /// Whether it takes less than 100 ms, as far as the machine gives it the processor, and never seconds.
      var isPrompt: Bool { milliseconds[0] < 100 && milliseconds[19] < 5000 }

      func report(_ what: String) {
        let figures = [0, 10, 19].map { String(format: "%.1f", milliseconds[$0]) }
        print(
          "\(what), beside 64 stuck reads: fastest, median, slowest of 20: \(figures.joined(separator: ", ")) ms"
        )
      }
    }

    /// How long the manager takes to answer.
    private func answer(_ instance: Instance, _ path: String) throws -> Timing {
      let timing = try Timing {
        let outcome = try instance.shell(
          """
          curl -sS -m 30 -o /dev/null -w '%{time_total}' --unix-socket $ASHLAR_RUN/ashlard.sock http://ashlar\(path)
          """)
        try #require(outcome.status == 0, "\(path): \(outcome.errors)")
        return (Double(outcome.line) ?? .infinity) * 1000
      }
      timing.report("GET \(path)")
      return timing
    }

    /// How long 4 KiB of a device take, past the page cache, somewhere else each time.
    private func read(_ device: String) throws -> Timing {
      let descriptor = open(device, O_RDONLY | clinux_O_DIRECT | O_CLOEXEC)
      try #require(descriptor >= 0, "\(device): errno \(errno)")
      defer { close(descriptor) }
      let block = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
      defer { block.deallocate() }
      var offset: off_t = 0
      let timing = try Timing {
        let start = ContinuousClock.now
        try #require(pread(descriptor, block, 4096, offset) == 4096, "\(device): errno \(errno)")
        offset += 1 << 20
        return (ContinuousClock.now - start) / .milliseconds(1)
      }
      timing.report("4 KiB of another device")
      return timing
    }

    /// Sixty-four reads of a disk that does not answer, and as many questions to the manager about a file on it.
    @Test func nobodyElseIsHeldUp() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      let other = try instance.attach("other", Fixtures.path("ext4/config.l2.v1.json"))
      let further = try instance.attach("further", Fixtures.path("ext4/config.l2.v1.json"))
      let disk = try StalledDisk(instance.scratch)
      let stuck = try instance.attach("stuck", "raw:\(disk.image)", "--read-only")
      disk.stop()
      let fio = Process()
      fio.executableURL = URL(filePath: "/usr/bin/fio")
      fio.arguments = [
        "--name=r", "--filename=\(stuck)", "--ioengine=libaio", "--direct=1", "--rw=randread", "--bs=4k",
        "--iodepth=64", "--number_ios=64", "--size=64M", "--allow_file_create=0", "--readonly",
      ]
      fio.standardOutput = FileHandle.nullDevice
      try fio.run()
      var asked: [Process] = []
      for _ in 0..<64 {
        let question = Process()
        question.executableURL = URL(filePath: "/usr/bin/curl")
        question.arguments = [
          "-sS", "-o", "/dev/null", "--unix-socket", "\(instance.run)/ashlard.sock",
          "http://ashlar/v1/volume-content?volume=\(disk.image)",
        ]
        try question.run()
        asked.append(question)
      }
      // Goes on only when the server answers itself, while its reads wait.
      var waited: UInt64 = 0
      for _ in 0..<200 where waited < 64 {
        waited = try instance.inspect("stuck").requests?.waited ?? 0
        usleep(20_000)
      }
      #expect(waited >= 64)
      #expect(try answer(instance, "/v1/attachments").isPrompt)
      #expect(try answer(instance, "/v1/attachments/stuck").isPrompt)
      #expect(try answer(instance, "/v1/attachments/other").isPrompt)
      #expect(try read(other).isPrompt)
      #expect(try Instance.sha256(ofDevice: other).count == 64)
      // Who uses a device is looked for without asking the dead file system, on which a server has a file open.
      let start = ContinuousClock.now
      try instance.detach("further")
      #expect(ContinuousClock.now - start < .seconds(5))
      #expect(!FileManager.default.fileExists(atPath: "\(instance.run)/dev/further"), "\(further)")
      disk.goOn()
      fio.waitUntilExit()
      for question in asked { question.waitUntilExit() }
      #expect(fio.terminationStatus == 0)
      try instance.detach("stuck")
      try instance.detach("other")
      try instance.expectNothingLeft()
    }

    /// Orders that a disk does not let come to an end, from clients that have gone, take nothing from the others; and
    /// whoever waits for his order is told.
    @Test func ordersThatWaitHoldUpNobody() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      let other = try instance.attach("other", Fixtures.path("ext4/config.l2.v1.json"))
      let disk = try StalledDisk(instance.scratch)
      // There is no such file: nothing comes of what is looked at after all.
      let missing = "\(disk.image).missing"
      disk.stop()
      for round in 0..<12 {
        let clients = try (0..<100).map { number in
          let client = try RawConnection("\(instance.run)/ashlard.sock")
          let order = #"{"id":"x\#(round)-\#(number)","image":"raw:\#(missing)","readOnly":true}"#
          client.say(
            "POST /v1/attachments HTTP/1.1\r\nHost: ashlar\r\nContent-Length: \(order.utf8.count)\r\n\r\n\(order)"
          )
          return client
        }
        usleep(100_000)
        withExtendedLifetime(clients) {}
      }
      #expect(try answer(instance, "/v1/attachments").isPrompt)
      let refused = try instance.ashlar("attach", "--id", "late", "--read-only", "raw:\(missing)")
      #expect(refused.status == 1 && refused.errors.contains("Look at what the file system"), "\(refused)")
      // They are given up when they have waited for as long as they may, and nobody waits for the same once more.
      var again = refused
      #expect(
        Waiting.until(seconds: 60) {
          again =
            (try? instance.ashlar("attach", "--id", "late", "--read-only", "raw:\(missing)")) ?? again
          return again.errors.contains("\(missing) does not answer: an earlier look")
        }, "\(again)")
      let ids = try instance.attachments().map(\.id.text)
      #expect(ids == ["other"])
      #expect(try Instance.sha256(ofDevice: other).count == 64)
      try instance.detach("other")
      disk.goOn()
      #expect(
        Waiting.until {
          (try? instance.ashlar("attach", "--id", "late", "--read-only", "raw:\(disk.image)"))?.status == 0
        })
      try instance.detach("late")
      try instance.expectNothingLeft()
    }

    /// A data server that is stopped while many ask for its counters: none of them waits for more than their time.
    @Test func aStoppedServerIsNotWaitedFor() throws {
      let instance = try Instance()
      _ = try instance.attach("stopped", Fixtures.path("ext4/config.l2.v1.json"))
      let server = try #require(try instance.inspect("stopped").server?.pid)
      kill(server, SIGSTOP)
      defer { kill(server, SIGCONT) }
      // Far more than the socket's buffer holds, from clients that do not wait for each other.
      let ask = """
        for i in $(seq 8); do
          curl -sS -Z --parallel-max 20 --no-progress-meter -o /dev/null --unix-socket $ASHLAR_RUN/ashlard.sock \
            "http://ashlar/v1/attachments/stopped#[1-60]" & jobs="$jobs $!"
        done
        for job in $jobs; do wait $job || exit 1; done
        """
      let start = ContinuousClock.now
      let outcome = try instance.shell(ask, seconds: 60)
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(ContinuousClock.now - start < .seconds(30))
      #expect(try answer(instance, "/v1/attachments").isPrompt)
      kill(server, SIGCONT)
      #expect(try instance.inspect("stopped").requests != nil)
      try instance.detach("stopped")
      try instance.expectNothingLeft()
    }
  }
}
