import Foundation
import GRDB
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// Many times and many at once: nothing stays behind.
  @Suite struct StressTests {
    /// What a leak would show in: of the host, and of the manager.
    private struct Footprint {
      var mounts: Int
      var connections: Int
      var managerDescriptors: Int
      var managerThreads: Int

      func isWithin(_ other: Footprint) -> Bool {
        mounts <= other.mounts && connections <= other.connections
          && managerDescriptors <= other.managerDescriptors
          && managerThreads <= other.managerThreads
      }

      init(_ instance: Instance) throws {
        let pid = try instance.managerPid()
        mounts = Mount.all().count
        connections = SmallFile.entries("/sys/fs/fuse/connections").count
        managerDescriptors = SmallFile.entries("/proc/\(pid)/fd").count
        managerThreads = SmallFile.entries("/proc/\(pid)/task").count
      }
    }

    /// Attaches ten at a time, reads each device's first and last block, and detaches them, `rounds` times.
    private func cycle(_ instance: Instance, rounds: Int) throws {
      let images = [
        "ext4/config.l2.v1.json", "turbo/config.erofs-gz.v1.json",
        "lsmt/05-zfile-tar/config.z-lz4-4k.v1.json",
      ].map(Fixtures.path)
      let script = """
        set -euo pipefail
        images=(\(images.joined(separator: " ")))
        one() {
            device=$(ashlar attach --id "c$1" "${images[$(($1 % ${#images[@]}))]}")
            dd if="$device" of=/dev/null bs=4096 count=1 iflag=direct status=none
            ashlar detach --id "c$1"
        }
        for round in $(seq \(rounds)); do
            jobs=()
            for i in 0 1 2 3 4 5 6 7 8 9; do one $i & jobs+=($!); done
            for job in "${jobs[@]}"; do wait "$job"; done
        done
        """
      let outcome = try instance.shell(script, seconds: 600)
      try #require(outcome.status == 0, "\(outcome.errors)")
    }

    @Test func twoHundredCyclesTenAtATimeLeaveNothing() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      // The manager's threads and descriptors reach their number in the first rounds.
      try cycle(instance, rounds: 2)
      sleep(2)
      let before = try Footprint(instance)
      try cycle(instance, rounds: 20)
      var after = try Footprint(instance)
      for _ in 0..<50 where !after.isWithin(before) {
        usleep(200_000)
        after = try Footprint(instance)
      }
      #expect(after.isWithin(before), "\(before) \(after)")
      try instance.expectNothingLeft()
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      let rows = try DatabaseQueue(path: "\(instance.root)/journal.sqlite").read { database in
        try Int.fetchOne(database, sql: "SELECT count(*) FROM attachment")
      }
      #expect(rows == 0)
    }

    /// Twenty at once for one ID: one device, and everyone gets it.
    @Test func allAtOnceForOneIDGetOneDevice() throws {
      let instance = try Instance()
      let script = """
        for i in $(seq 20); do ashlar attach --id one \(Fixtures.path("ext4/config.l2.v1.json")) & done
        wait
        """
      let outcome = try instance.shell(script)
      let devices = outcome.output.split(separator: "\n")
      #expect(devices.count == 20 && Set(devices).count == 1, "\(outcome.output)\(outcome.errors)")
      #expect(instance.serverPids().count == 1)
      let detach = try instance.shell("for i in $(seq 20); do ashlar detach --id one & done; wait")
      #expect(detach.errors == "")
      try instance.expectNothingLeft()
    }

    /// Two instances keep apart, also with the same ID and the same image.
    @Test func twoInstancesKeepApart() throws {
      let one = try Instance()
      let other = try Instance()
      let config = Fixtures.path("ext4/config.l2.v1.json")
      let first = try one.attach("same", config)
      let second = try other.attach("same", config)
      #expect(first != second)
      try one.detach("same")
      #expect(try other.attachments().map(\.device) == [second])
      #expect(try Instance.sha256(ofDevice: second).count == 64)
      try other.detach("same")
    }

    /// A device for each of fifty IDs at the same time.
    @Test func fiftyStandAtTheSameTime() throws {
      let instance = try Instance()
      let attach = """
        set -e
        for i in $(seq 50); do ashlar attach --id d$i \(Fixtures.path("ext4/config.l2.v1.json")); done
        """
      let outcome = try instance.shell(attach, seconds: 300)
      try #require(outcome.status == 0, "\(outcome.errors)")
      let devices = Set(outcome.output.split(separator: "\n").map(String.init))
      #expect(devices.count == 50)
      let sums = Set(try devices.map { try Instance.sha256(ofDevice: $0) })
      #expect(sums.count == 1)
      #expect(try instance.attachments().count == 50)
      let detach = try instance.shell(
        "for i in $(seq 50); do ashlar detach --id d$i & done; wait", seconds: 300)
      #expect(detach.errors == "")
      try instance.expectNothingLeft()
    }
  }
}
