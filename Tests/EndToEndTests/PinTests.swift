import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// A path that leads to another file than the one that is served, and a disk that loses writes.
  @Suite struct PinTests {
    /// The image lives on; an attach that would show the other file's content is refused.
    @Test func anImageThatWasReplacedIsAConflict() throws {
      let instance = try Instance()
      let config = "\(try instance.scratch.copyFixture("ext4"))/config.l2.v1.json"
      let device = try instance.attach("demo", config)
      let pin = try #require(try layers(of: config, instance).first)
      try swap(pin)
      let link = instance.scratch("link.json")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: config)
      for path in [config, link] {
        let outcome = try instance.ashlar("attach", "--id", "demo", path)
        #expect(outcome.status == 1 && outcome.output == "")
        #expect(outcome.errors.contains("\(pin) is not the file that it serves: inode"), "\(outcome.errors)")
      }
      #expect(try instance.inspect("demo").state == .attached)
      // Back where it was, it is the same again, and the device was never another one.
      #expect(rename("\(pin).away", pin) == 0)
      #expect(try instance.attach("demo", config) == device)
      try instance.detach("demo")
      try instance.expectNothingLeft()
    }

    @Test func aRawFileThatWasReplacedIsAConflict() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "16M", path]).status == 0)
      let device = try instance.attach("raw", "raw:\(path)")
      // What is written, and what it grows by, leaves it the same file.
      let write = ["dd", "if=/dev/zero", "of=\(device)", "bs=4k", "count=1", "oflag=direct", "status=none"]
      #expect(try Program.run(write).status == 0)
      #expect(try Program.run(["truncate", "-s", "17M", path]).status == 0)
      #expect(try instance.attach("raw", "raw:\(path)") == device)
      try swap(path)
      let outcome = try instance.ashlar("attach", "--id", "raw", "raw:\(path)")
      #expect(outcome.status == 1 && outcome.errors.contains("\(path) is not the file"), "\(outcome.errors)")
      try instance.detach("raw")
      #expect(try instance.attach("raw", "raw:\(path)").hasPrefix("/dev/loop"))
      try instance.detach("raw")
    }

    /// What is attached read-only beside its writer is the same disk, whatever is written to it.
    @Test func aRawFileThatSomebodyElseWritesToIsTheSame() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "16M", path]).status == 0)
      let writer = try instance.attach("writer", "raw:\(path)")
      let reader = try instance.attach("reader", "raw:\(path)", "--read-only")
      let write = [
        "dd", "if=/dev/urandom", "of=\(writer)", "bs=4k", "count=1", "oflag=direct", "status=none",
      ]
      #expect(try Program.run(write).status == 0)
      #expect(try instance.attach("reader", "raw:\(path)", "--read-only") == reader)
      try swap(path)
      #expect(try instance.ashlar("attach", "--id", "reader", "raw:\(path)", "--read-only").status == 1)
      try instance.detach("reader")
      try instance.detach("writer")
    }

    /// A flush that failed is known until somebody resets it, whoever asks, and whatever the manager does.
    @Test func aFailedFlushIsKnownUntilItIsReset() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      let flush = try attachWithFault(instance, path)
      #expect(try Program.run(flush).status == 0)
      try instance.scratch.write("disk.img.fails", text: "")
      #expect(try Program.run(flush).status != 0)
      #expect(unlink(instance.scratch("disk.img.fails")) == 0)
      // The disk is well again; what it lost is lost.
      #expect(try Program.run(flush).status != 0)
      try expectProblem(instance, path)
      #expect(try instance.ashlar("ls").errors.contains("a flush of \(path) failed"))
      let again = try instance.ashlar("attach", "--id", "disk", "raw:\(path)")
      #expect(again.status == 0 && again.errors.contains("a flush of \(path) failed"), "\(again.errors)")
      kill(try instance.managerPid(), SIGKILL)
      try expectProblem(instance, path)
      #expect(try Program.run(flush).status != 0)
      #expect(try instance.ashlar("reset", "disk").status == 2)
      let reset = try instance.ashlar("reset", "disk", "--flush-error")
      #expect(reset.status == 0, "\(reset.errors)")
      #expect(try instance.inspect("disk").problem == nil)
      #expect(try Program.run(flush).status == 0)
      let missing = try instance.ashlar("reset", "nobody", "--flush-error")
      #expect(missing.status == 1 && missing.errors.contains("nothing is attached"), "\(missing.errors)")
      try instance.scratch.write("disk.img.fails", text: "")
      #expect(try Program.run(flush).status != 0)
      try expectProblem(instance, path)
      let detach = try instance.ashlar("detach", "--id", "disk")
      #expect(
        detach.status == 0 && detach.errors.contains("data that was written may be lost"), "\(detach.errors)")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// The same where no manager is told of it: the next one hears of it when it connects.
    @Test func aFlushThatFailsWithoutAManagerIsKnownToTheNext() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      let flush = try attachWithFault(instance, path)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      try instance.scratch.write("disk.img.fails", text: "")
      #expect(try Program.run(flush).status != 0)
      #expect(unlink(instance.scratch("disk.img.fails")) == 0)
      // Who was told of it can be certain that the next data server is, whatever becomes of this one.
      var records: [String] { SmallFile.entries("\(instance.run)/servers").filter { $0.hasSuffix(".flush") } }
      #expect(records.count == 1)
      try expectProblem(instance, path)
      #expect(try Program.run(flush).status != 0)
      let reset = try instance.ashlar("reset", "disk", "--flush-error")
      #expect(reset.status == 0, "\(reset.errors)")
      #expect(records == [])
      #expect(try instance.inspect("disk").problem == nil)
      #expect(try Program.run(flush).status == 0)
      try instance.detach("disk")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// Nor does it go with its data server, whoever looks first; and another file is not taken for what it served.
    @Test func aDeathForgetsNothing() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      let flush = try attachWithFault(instance, path)
      try instance.scratch.write("disk.img.fails", text: "")
      #expect(try Program.run(flush).status != 0)
      #expect(unlink(instance.scratch("disk.img.fails")) == 0)
      try expectProblem(instance, path)
      kill(try #require(try instance.inspect("disk").server?.pid), SIGKILL)
      _ = try instance.attach("disk", "raw:\(path)")
      try expectProblem(instance, path)
      // The manager with it: the next one has only its row.
      let server = try #require(try instance.inspect("disk").server?.pid)
      kill(try instance.managerPid(), SIGKILL)
      kill(server, SIGKILL)
      try expectProblem(instance, path, state: .failed)
      #expect(rename(path, "\(path).moved") == 0)
      #expect(try Program.run(["truncate", "-s", "16M", path]).status == 0)
      let other = try instance.ashlar("attach", "--id", "disk", "raw:\(path)")
      #expect(other.status == 1 && other.errors.contains("is not the file that it serves"), "\(other)")
      // Who detaches it knows.
      try instance.detach("disk")
      let device = try instance.attach("disk", "raw:\(path)")
      let afresh = ["dd", "if=/dev/zero", "of=\(device)", "bs=4k", "count=1", "conv=fsync", "status=none"]
      #expect(try Program.run(afresh).status == 0)
      try instance.detach("disk")
      try instance.expectNothingLeft()
    }

    /// What was written to a device whose data server cannot be reached, and cannot be flushed, is not given up unasked.
    @Test func aDetachDoesNotLoseWhatCannotBeFlushed() throws {
      let instance = try Instance()
      let path = instance.scratch("disk.img")
      _ = try attachWithFault(instance, path)
      let info = try instance.inspect("disk")
      let device = try #require(info.device)
      try instance.isolate(try #require(info.server?.pid))
      try instance.scratch.write("disk.img.fails", text: "")
      let write = ["dd", "if=/dev/zero", "of=\(device)", "bs=4k", "count=1", "status=none"]
      #expect(try Program.run(write).status == 0)
      let refused = try instance.ashlar("detach", "--id", "disk")
      #expect(refused.status == 1 && refused.errors.contains("could not be flushed"), "\(refused.errors)")
      #expect(try instance.inspect("disk").state == .attached)
      let reset = try instance.ashlar("reset", "disk", "--flush-error")
      #expect(reset.status == 1 && reset.errors.contains("cannot be spoken to"), "\(reset.errors)")
      try instance.detach("disk", "--force")
      let log = try String(contentsOfFile: "\(instance.root)/ashlard.log", encoding: .utf8)
      #expect(log.contains("may be lost"), "\(log)")
      try instance.expectNothingLeft()
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// Attaches a new file, whose data server's flushes fail when told to.
    ///
    /// - Returns: The command that writes and flushes.
    private func attachWithFault(_ instance: Instance, _ path: String) throws -> [String] {
      #expect(try Program.run(["truncate", "-s", "16M", path]).status == 0)
      try buildFault(instance)
      let start = try instance.shell(
        "LD_PRELOAD=\(instance.scratch("fault.so")) FAULT_FILE=\(path) ashlar daemon start")
      try #require(start.status == 0, "\(start.errors)")
      let device = try instance.attach("disk", "raw:\(path)")
      return ["dd", "if=/dev/zero", "of=\(device)", "bs=4k", "count=1", "conv=fsync", "status=none"]
    }

    private func expectProblem(
      _ instance: Instance, _ path: String, state: AttachmentState = .attached
    ) throws {
      // The data server tells it beside the answer that the kernel gets.
      #expect(Waiting.until { (try? instance.inspect("disk"))?.problem != nil })
      let info = try instance.inspect("disk")
      #expect(info.state == state)
      #expect(
        info.problem?.contains("a flush of \(path) failed") == true
          && info.problem?.contains("ashlar reset disk --flush-error") == true, "\(info.problem ?? "-")")
    }

    /// fdatasync of one file fails while a file stands beside it.
    private func buildFault(_ instance: Instance) throws {
      try instance.scratch.write(
        "fault.c",
        text: """
          #include <errno.h>
          #include <stdio.h>
          #include <stdlib.h>
          #include <string.h>
          #include <sys/syscall.h>
          #include <unistd.h>

          int fdatasync(int fd) {
            const char *file = getenv("FAULT_FILE");
            char link[64], target[4096], flag[4200];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t count = readlink(link, target, sizeof target - 1);
            if (file && count > 0) {
              target[count] = 0;
              snprintf(flag, sizeof flag, "%s.fails", file);
              if (strcmp(file, target) == 0 && access(flag, F_OK) == 0) {
                errno = EIO;
                return -1;
              }
            }
            return (int)syscall(SYS_fdatasync, fd);
          }
          """)
      let built = try Program.run(
        ["cc", "-shared", "-fPIC", "-o", instance.scratch("fault.so"), instance.scratch("fault.c")])
      try #require(built.status == 0, "\(built.errors)")
    }

    /// The layers' files of a configuration.
    private func layers(of config: String, _ instance: Instance) throws -> [String] {
      let outcome = try instance.ashlar("image", "info", config, "--json")
      struct Info: Decodable {
        struct Layer: Decodable { var path: String }
        var layers: [Layer]
      }
      return try JSONDecoder().decode(Info.self, from: Data(outcome.output.utf8)).layers.map(\.path)
    }

    /// Puts a copy in the place of a file, which stays beside it under another name.
    private func swap(_ path: String) throws {
      #expect(rename(path, "\(path).away") == 0)
      #expect(try Program.run(["cp", "--preserve=timestamps", "\(path).away", path]).status == 0)
    }
  }
}
