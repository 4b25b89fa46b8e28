import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What a process takes stays what it is, however often something is done: a fleet does it for months.
  @Suite struct FlatnessTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")
    /// How often; ASHLAR_LONG=1 is for `make test-long`.
    private static let count = ProcessInfo.processInfo.environment["ASHLAR_LONG"] == "1" ? 10_000 : 500

    /// What a leak would show in.
    private struct Footprint: CustomStringConvertible {
      let threads: Int
      let mappings: Int
      let descriptors: Int
      let kibibytes: Int

      init(_ pid: Int32) {
        threads = SmallFile.entries("/proc/\(pid)/task").count
        mappings = (SmallFile.text("/proc/\(pid)/maps", limit: 64 << 20) ?? "").split(separator: "\n").count
        descriptors = SmallFile.entries("/proc/\(pid)/fd").count
        let status = (SmallFile.text("/proc/\(pid)/status") ?? "").split(separator: "\n")
        kibibytes =
          status.first { $0.hasPrefix("VmRSS:") }
          .flatMap { Int($0.filter(\.isNumber)) } ?? 0
      }

      /// Whether it is no more than 5 % above another one.
      ///
      /// Of few things 5 % are none; a thread that comes or goes at that moment has a stack, its guard page and an
      /// arena, and one that leaks would be there hundreds of times.
      func isFlat(since before: Footprint) -> Bool {
        func isFlat(_ now: Int, _ then: Int, _ some: Int) -> Bool { now <= then + max(then / 20, some) }
        return isFlat(threads, before.threads, 4) && isFlat(mappings, before.mappings, 32)
          && isFlat(descriptors, before.descriptors, 4) && isFlat(kibibytes, before.kibibytes, 2048)
      }

      var description: String {
        "\(threads) threads, \(mappings) mappings, \(descriptors) descriptors, \(kibibytes) KiB"
      }
    }

    /// Runs work twice, and expects that a process takes no more after the second time than after the first.
    ///
    /// Threads without work end after ten seconds.
    private func expectFlat(
      _ pid: Int32, warmUp: Int, then count: Int, _ location: SourceLocation = #_sourceLocation,
      _ work: (Int) throws -> Void
    ) throws {
      try work(warmUp)
      sleep(11)
      let before = Footprint(pid)
      try work(count)
      var after = Footprint(pid)
      for _ in 0..<150 where !after.isFlat(since: before) {
        usleep(100_000)
        after = Footprint(pid)
      }
      #expect(after.isFlat(since: before), "\(before); after \(count): \(after)", sourceLocation: location)
    }

    /// Requests to the manager, `lanes` at a time, over as many connections; each fails the test if it fails.
    private func request(
      _ instance: Instance, _ count: Int, lanes: Int,
      _ lane: (Int) -> [(method: String, path: String, body: String)]
    ) throws {
      let files = try Scratch()
      for number in 0..<lanes {
        let orders = lane(number).map { method, path, body in
          """
          url = "http://ashlar\(path)"
          request = "\(method)"
          unix-socket = "\(instance.run)/ashlard.sock"
          output = "/dev/null"
          fail-with-body
          silent
          show-error
          \(body.isEmpty ? "" : "data = \"\(body.replacing("\"", with: "\\\""))\"")
          """
        }
        let all = Array(repeating: orders, count: max(count / lanes, 1)).flatMap { $0 }
        try files.write("\(number)", text: all.joined(separator: "\nnext\n"))
      }
      let script = """
        cd \(files("")); jobs=()
        for file in *; do curl --fail-early -K "$file" & jobs+=($!); done
        for job in "${jobs[@]}"; do wait "$job" || exit 1; done
        """
      let outcome = try Program.run(["bash", "-c", script], seconds: 7200)
      try #require(outcome.status == 0, "\(outcome.errors)")
    }

    private func attach(_ id: String) -> (String, String, String) {
      ("POST", "/v1/attachments", "{\"id\":\"\(id)\",\"image\":\"\(config)\"}")
    }

    /// The allocator has taken what it keeps for its threads after some hundred rounds.
    @Test func aManagerStaysAsItIsOverAttachesAndDetaches() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      try expectFlat(try instance.managerPid(), warmUp: 400, then: Self.count) { count in
        try request(instance, count, lanes: 4) { lane in
          [attach("c\(lane)"), ("DELETE", "/v1/attachments/c\(lane)", "")]
        }
      }
      try instance.expectNothingLeft()
    }

    @Test func aManagerStaysAsItIsOverRepeatedAttaches() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      _ = try instance.attach("same", config)
      try expectFlat(try instance.managerPid(), warmUp: 100, then: Self.count) { count in
        try request(instance, count, lanes: 2) { _ in [attach("same")] }
      }
      try instance.detach("same")
    }

    /// The connections of new managers, by what each of them does first and last: a manager itself takes long to start.
    @Test func aDataServerStaysAsItIsOverConnections() throws {
      let instance = try Instance()
      _ = try instance.attach("lasting", config)
      let server = try #require(try instance.inspect("lasting").server?.pid)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      let socket = try #require(SmallFile.entries("\(instance.run)/servers").first)
      try expectFlat(server, warmUp: 100, then: Self.count) { count in
        for _ in 0..<count {
          let manager = try MessageSocket.connect(to: "\(instance.run)/servers/\(socket)")
          try expectMessage(from: manager, "status")
          try manager.send(Array(#"{"hello":{"_0":{"version":2}}}"#.utf8))
          try manager.send(Array(#"{"report":{"request":1}}"#.utf8))
          try expectMessage(from: manager, "counters")
        }
      }
      try instance.detach("lasting")
    }

    private func expectMessage(from server: borrowing MessageSocket, _ kind: String) throws {
      guard case .message(let bytes, let descriptors) = try server.receive() else {
        throw EndOfConnection()
      }
      for descriptor in descriptors { close(descriptor) }
      #expect(String(decoding: bytes.prefix(20), as: UTF8.self).contains(kind))
    }

    private struct EndOfConnection: Error {}

    @Test func aDataServerStaysAsItIsOverNewManagers() throws {
      let instance = try Instance()
      _ = try instance.attach("lasting", config)
      let server = try #require(try instance.inspect("lasting").server?.pid)
      // A manager that dies is sooner replaced than one that is stopped; to its server both are a connection that ends.
      try expectFlat(server, warmUp: 5, then: Self.count) { count in
        let outcome = try instance.shell(
          """
          set -e
          for i in $(seq \(count)); do
            kill -KILL $(cut -d ' ' -f 1 '\(instance.run)/ashlard.lock')
            ashlar ls > /dev/null
          done
          """, seconds: 7200)
        try #require(outcome.status == 0, "\(outcome.errors)")
      }
      try instance.detach("lasting")
    }
  }
}
