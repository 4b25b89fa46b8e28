import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// The limits of processes, of whoever starts the manager and of the manager itself.
  @Suite struct LimitTests {
    /// At the limit of open files nothing is seen, and that nothing is seen does not mean that nobody uses it.
    @Test func aManagerThatSeesNothingDetachesNothing() throws {
      let instance = try Instance()
      let image = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "4M", image]).status == 0)
      let device = try instance.attach("seen", "raw:\(image)")
      let user = open(device, O_RDONLY | O_CLOEXEC)
      try #require(user >= 0)
      defer { close(user) }
      let manager = try instance.managerPid()
      let connection = try RawConnection("\(instance.run)/ashlard.sock")
      // Answered, so that it has been accepted.
      _ = connection.ask("GET /v1/status HTTP/1.1\r\nHost: ashlar\r\n\r\n", seconds: 1)
      func limit(_ count: String) throws {
        #expect(try Program.run(["prlimit", "--pid", "\(manager)", "--nofile=\(count):"]).status == 0)
      }
      try limit("5")
      let answer = connection.ask(
        "DELETE /v1/attachments/seen HTTP/1.1\r\nHost: ashlar\r\nConnection: close\r\n\r\n", seconds: 40)
      try limit("1024")
      #expect(answer?.contains("cannot be seen") == true, "\(answer ?? "-")")
      let info = try instance.inspect("seen")
      #expect(info.state == .attached && info.device == device && info.problem == nil, "\(info)")
      try instance.detach("seen", "--force")
      #expect(close(user) == 0)
      #expect(Waiting.until { (try? instance.attachments())?.isEmpty == true })
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// What a shell may write into one file is not what a disk may.
    @Test func aLimitOfTheSizeOfFilesIsNotTheDisks() throws {
      let instance = try Instance()
      let image = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "64M", image]).status == 0)
      let outcome = try instance.shell("ulimit -S -f 20000; ashlar attach --id large raw:\(image)")
      try #require(outcome.status == 0, "\(outcome.errors)")
      let server = try #require(try instance.inspect("large").server?.pid)
      for pid in [try instance.managerPid(), server] {
        let limits = SmallFile.text("/proc/\(pid)/limits")?.split(separator: "\n") ?? []
        let size = limits.first { $0.hasPrefix("Max file size") } ?? ""
        #expect(size.split(separator: " ").dropFirst(3).prefix(2) == ["unlimited", "unlimited"], "\(size)")
      }
      try instance.detach("large")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }
  }
}
