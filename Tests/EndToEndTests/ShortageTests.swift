import Foundation
import LinuxIO
import TestKit
import Testing

extension Instance {
  /// Has a data server that is at its limit of open files, and whose socket somebody has removed: it serves, and no
  /// manager can connect to it.
  func isolate(_ server: Int32) throws {
    limitFiles(of: server, to: 4)
    #expect(try ashlar("daemon", "stop").status == 0)
    for name in SmallFile.entries("\(run)/servers") where name.hasSuffix(".sock") {
      #expect(unlink("\(run)/servers/\(name)") == 0)
    }
  }

  /// Sets how many files a process may have open, up to what it may set itself.
  func limitFiles(of process: Int32, to count: Int) {
    let outcome = try? Program.run(["prlimit", "--pid", "\(process)", "--nofile=\(count):"])
    #expect(outcome?.status == 0, "\(outcome?.errors ?? "-")")
  }
}

extension SerialEndToEndTests {
  /// A data server that is short of descriptors serves, and is reached again when that is over.
  @Suite struct ShortageTests {
    private let instance: Instance
    private let image: String
    private let device: String
    private let server: Int32

    init() throws {
      instance = try Instance()
      image = instance.scratch("disk.img")
      #expect(try Program.run(["truncate", "-s", "16M", image]).status == 0)
      device = try instance.attach("disk", "raw:\(image)")
      server = try #require(try instance.inspect("disk").server?.pid)
    }

    private func finish() throws {
      try instance.detach("disk")
      try instance.expectNothingLeft()
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// Descriptors that a process has.
    private func files(of process: Int32) -> [Int] {
      SmallFile.entries("/proc/\(process)/fd").compactMap(Int.init).sorted()
    }

    @Test func aShortageOfDescriptorsPasses() throws {
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      instance.limitFiles(of: server, to: 4)
      #expect(try instance.inspect("disk").problem?.contains("data server") == true)
      instance.limitFiles(of: server, to: 4096)
      #expect(Waiting.until { (try? instance.inspect("disk"))?.problem == nil })
      try finish()
    }

    /// The first message comes without the device's descriptor, if there is none to be had for it, and that follows.
    @Test func whatIsShortOfOneDescriptorSaysWhatItServes() throws {
      let before = files(of: server).count
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(Waiting.until { files(of: server).count < before })
      let open = Set(files(of: server))
      let free = try #require((0...).first { !open.contains($0) })
      instance.limitFiles(of: server, to: free + 1)
      #expect(Waiting.until { (try? instance.inspect("disk"))?.problem == nil })
      #expect(try instance.inspect("disk").size == 16 << 20)
      let manager = try instance.managerPid()
      var hasDevice: Bool {
        files(of: manager).contains { SmallFile.link("/proc/\(manager)/fd/\($0)") == device }
      }
      #expect(!hasDevice)
      instance.limitFiles(of: server, to: 4096)
      #expect(Waiting.until { hasDevice })
      try finish()
    }

    /// What is in the page cache is written before a data server is ended that cannot be told to let go.
    @Test func aDetachOfWhatCannotBeReachedLosesNothing() throws {
      try instance.isolate(server)
      #expect(try instance.inspect("disk").problem?.contains("cannot be spoken to") == true)
      let data = instance.scratch("data")
      let write = """
        dd if=/dev/urandom of=\(data) bs=1M count=4 status=none && dd if=\(data) of=\(device) bs=1M status=none
        """
      #expect(try Program.run(["sh", "-c", write]).status == 0)
      try finish()
      #expect(try Program.run(["cmp", "-n", "4194304", data, image]).status == 0)
    }
  }
}
