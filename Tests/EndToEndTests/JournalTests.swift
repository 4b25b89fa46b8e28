import Attachments
import BlockCore
import BlockSim
import Foundation
import GRDB
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// A journal that is damaged, lost, or has no room, while devices are in use.
  @Suite struct JournalTests {
    private let instance: Instance

    init() throws { instance = try Instance() }

    private func disk(_ name: String) throws -> String {
      let path = instance.scratch("\(name).img")
      #expect(try Program.run(["truncate", "-s", "16M", path]).status == 0)
      return "raw:\(path)"
    }

    private func flip(_ path: String, _ bit: Int) throws {
      var bytes = Array(try Data(contentsOf: URL(filePath: path)))
      bytes[bit / 8] ^= 1 << (bit % 8)
      try Data(bytes).write(to: URL(filePath: path))
    }

    /// Ends the manager so that the journal's rows are in its log.
    private func killManager() throws {
      let manager = try #require(ProcessIdentity(pid: try instance.managerPid()))
      manager.kill()
      while manager.isAlive { usleep(1000) }
    }

    /// Expects that the journal is written anew, and that everything is as it was.
    private func expectRecovery(_ device: String, _ image: String, server: Int32) throws {
      let refused = try instance.ashlar("ls")
      #expect(refused.status == 1 && refused.errors.contains("damaged"), "\(refused.output)\(refused.errors)")
      #expect(refused.errors.contains("ashlar daemon recover"), "\(refused.errors)")
      let recover = try instance.ashlar("daemon", "recover")
      #expect(
        recover.status == 0 && recover.line == "a: \(device) is attached",
        "\(recover.output)\(recover.errors)")
      #expect(
        recover.errors.contains("put aside: \(instance.root)/journal.sqlite.damaged-1"), "\(recover.errors)")
      let info = try instance.inspect("a")
      #expect(info.state == .attached && info.server?.pid == server && info.requests != nil, "\(info)")
      // The same request is the same device still.
      #expect(try instance.attach("a", image) == device)
      try instance.detach("a")
      try instance.expectNothingLeft()
    }

    @Test func aFlippedBitIsSaidAndMended() throws {
      let image = try disk("a")
      let device = try instance.attach("a", image)
      let server = try #require(try instance.inspect("a").server?.pid)
      try killManager()
      try flip("\(instance.root)/journal.sqlite-wal", 40 * 8)
      try expectRecovery(device, image, server: server)
    }

    @Test func aJournalOfOtherBytesIsSaidAndMended() throws {
      let image = try disk("a")
      let device = try instance.attach("a", image)
      let server = try #require(try instance.inspect("a").server?.pid)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      try instance.scratch.write("root/journal.sqlite", (0..<100).map { UInt8($0 * 37 & 255) })
      try expectRecovery(device, image, server: server)
    }

    /// Without a journal the devices are listed, and can be taken over or removed.
    @Test func aLostJournalHidesNothing() throws {
      let images = (try disk("a"), try disk("b"))
      let device = try instance.attach("a", images.0)
      _ = try instance.attach("b", images.1)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(try Program.run(["sh", "-c", "rm \(instance.root)/journal.sqlite*"]).status == 0)
      let found = try instance.attachments()
      #expect(found.map(\.state) == [.unknown, .unknown], "\(found)")
      #expect(found.first { $0.id.text == "a" }?.device == device)
      let table = try instance.ashlar("ls")
      #expect(table.errors.contains("ashlar daemon recover"), "\(table.errors)")
      #expect(table.errors.contains("ashlar detach --id a --force"), "\(table.errors)")
      let refused = try instance.ashlar("detach", "--id", "a")
      #expect(refused.status == 1 && refused.errors.contains("--force"), "\(refused.errors)")
      // One is removed, and the other taken over.
      let forced = try instance.ashlar("detach", "--id", "a", "--force", "-v")
      #expect(forced.status == 0 && forced.errors.contains("a is gone"), "\(forced.errors)")
      let recover = try instance.ashlar("daemon", "recover")
      #expect(
        recover.status == 0 && recover.output.hasPrefix("b: /dev/loop"), "\(recover.output)\(recover.errors)")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      let info = try instance.inspect("b")
      #expect(info.state == .attached && info.problem == nil && info.image == images.1)
      try instance.detach("b")
      try instance.expectNothingLeft()
    }

    /// What does not answer is not written down without its image, by which it could never be attached again.
    @Test func aStoppedServerIsRecoveredWhenItGoesOn() throws {
      let image = try disk("a")
      let device = try instance.attach("a", image)
      let server = try #require(try instance.inspect("a").server?.pid)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(try Program.run(["sh", "-c", "rm \(instance.root)/journal.sqlite*"]).status == 0)
      kill(server, SIGSTOP)
      let refused = try instance.ashlar("daemon", "recover")
      #expect(refused.status == 1 && refused.errors.contains("process \(server)"), "\(refused.errors)")
      #expect(try instance.attachments().map(\.state) == [.unknown])
      kill(server, SIGCONT)
      let recover = try instance.ashlar("daemon", "recover")
      #expect(
        recover.status == 0 && recover.line == "a: \(device) is attached",
        "\(recover.output)\(recover.errors)")
      #expect(try instance.inspect("a").image == image)
      #expect(try instance.attach("a", image) == device)
      try instance.detach("a")
      try instance.expectNothingLeft()
    }

    /// Whatever bit is flipped, a device that lives is never out of sight.
    @Test func flippedBitsNeverEmptyTheList() throws {
      var random = SplitMix64(seed: Seed.of("flipped bits"))
      for name in ["a", "b"] { _ = try instance.attach(name, try disk(name)) }
      var servers = Set(instance.serverPids())
      for round in 1...25 {
        // Half of the time it is in order, so that the rows are in the database, and not in its log.
        if round % 2 == 0 {
          try killManager()
        } else {
          #expect(try instance.ashlar("daemon", "stop").status == 0)
        }
        for _ in 0..<Int(random.next() % 50) + 1 {
          let names = ["journal.sqlite", "journal.sqlite-wal"].filter {
            LinuxFileSystem.allocatedBytes("\(instance.root)/\($0)") > 0
          }
          let name = names[Int(random.next() % UInt64(names.count))]
          let size = try instance.scratch.bytes("root/\(name)").count
          try flip("\(instance.root)/\(name)", Int(random.next() % UInt64(size * 8)))
        }
        let list = try instance.ashlar("ls", "--json")
        if list.status == 0 {
          let found = try JSONDecoder().decode([AttachmentInfo].self, from: Data(list.output.utf8))
          #expect(found.count >= 2, "round \(round): \(list.output)")
        } else {
          #expect(list.errors.contains("ashlar daemon recover"), "round \(round): \(list.errors)")
        }
        let recover = try instance.ashlar("daemon", "recover")
        #expect(recover.status == 0, "round \(round): \(recover.errors)")
        #expect(servers.isSubset(of: instance.serverPids()), "round \(round)")
        let after = try instance.attachments()
        #expect(after.count >= 2, "round \(round): \(after)")
        if after.map(\.id.text).sorted() == ["a", "b"], after.allSatisfy({ $0.state == .attached }) {
          continue
        }
        // What a row says of itself may be another name or a state of no release: by force it can be taken apart.
        for info in after { #expect(try instance.ashlar("detach", "--id=\(info.id)", "--force").status == 0) }
        try instance.expectNothingLeft()
        for name in ["a", "b"] { _ = try instance.attach(name, "raw:\(instance.scratch("\(name).img"))") }
        servers = Set(instance.serverPids())
      }
      for name in ["a", "b"] { try instance.detach(name) }
      try instance.expectNothingLeft()
    }

    /// What an orderly end leaves is in one file.
    @Test func anOrderlyEndLeavesOneFile() throws {
      _ = try instance.attach("a", try disk("a"))
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(try instance.scratch.bytes("root/journal.sqlite-wal").isEmpty)
      try FileManager.default.copyItem(
        atPath: "\(instance.root)/journal.sqlite", toPath: instance.scratch("copy.sqlite"))
      let states = try DatabaseQueue(path: instance.scratch("copy.sqlite")).read {
        try String.fetchAll($0, sql: "SELECT state FROM attachment")
      }
      #expect(states == ["attached"])
      try instance.detach("a")
    }

    /// A small disk at ROOT of this instance.
    private func smallRoot(_ size: String = "8m") throws -> SmallDisk {
      try SmallDisk(instance.root, options: "size=\(size)")
    }

    private func expectNoSpace(_ id: String, _ location: SourceLocation = #_sourceLocation) throws {
      let refused = try instance.ashlar("attach", "--id", id, try disk(id))
      #expect(
        refused.status == 1 && refused.errors.contains("Free "), "\(refused.errors)", sourceLocation: location
      )
      #expect(
        try !instance.attachments().contains { $0.id.text == id }, "it is listed", sourceLocation: location)
    }

    /// On a full disk nothing new is attached, and everything can be taken apart, however often somebody fills it again.
    @Test func aFullDiskHoldsUpNoDetach() throws {
      let small = try smallRoot()
      for name in ["a", "b", "c", "d", "e"] { _ = try instance.attach(name, try disk(name)) }
      try small.fill()
      try expectNoSpace("f")
      // Also with a manager that has found the disk full.
      for name in ["a", "b"] {
        try instance.detach(name)
        try small.fill()
        try expectNoSpace("f")
        #expect(try instance.ashlar("daemon", "stop").status == 0)
        try small.fill()
      }
      for name in ["c", "d"] {
        try instance.detach(name, "--force")
        try small.fill()
      }
      try instance.detach("e")
      #expect(try instance.ashlar("ls", "--json").line == "[]")
      small.clear()
      _ = try instance.attach("f", try disk("f"))
      try instance.detach("f")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// Where nothing can be written at all, everything can be taken apart still; it is said, and written down later.
    @Test func whatCannotBeWrittenDownIsTakenApart() throws {
      let small = try smallRoot()
      let device = try instance.attach("held", try disk("held"))
      for name in ["a", "b", "c"] { _ = try instance.attach(name, try disk(name)) }
      // As on a file system that keeps no room.
      unlink("\(instance.root)/journal.sqlite-reserve")
      try small.fill()
      try instance.detach("a")
      try small.fill()
      do {
        let descriptor = try Descriptor.open(device, O_RDONLY)
        try instance.detach("held", "--force")
        let info = try instance.inspect("held")
        #expect(info.state == .detaching && info.problem?.contains("not written down") == true, "\(info)")
        try expectNoSpace("d")
        // The next manager finds rows of what is gone, and no room to remove them.
        try killManager()
        try small.fill()
        let found = try instance.attachments().map(\.id.text).sorted()
        #expect(found == ["b", "c", "held"], "\(found)")
        _ = consume descriptor
      }
      // That it was to go died with the manager.
      try instance.detach("held")
      try instance.detach("b")
      try instance.detach("c", "--force")
      #expect(try instance.ashlar("ls", "--json").line == "[]")
      small.clear()
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      let rows = try DatabaseQueue(path: "\(instance.root)/journal.sqlite").read {
        try Int.fetchOne($0, sql: "SELECT COUNT(*) FROM attachment")
      }
      #expect(rows == 0)
      try instance.expectNothingLeft()
    }

    /// Without room for what is to be taken apart nothing is attached.
    @Test func withoutRoomForTheReserveNothingIsAttached() throws {
      let small = try smallRoot("2m")
      // A manager can start, and no more.
      try small.fill(leaving: 400 << 10)
      try expectNoSpace("a")
      small.clear()
      _ = try instance.attach("a", try disk("a"))
      try instance.detach("a")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// What a manager has read of its journal is no witness of what is on the disk.
    @Test func damageUnderARunningManagerIsSaid() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch("")); truncate -s 1M own.img
        says() { local text=$1 said; shift; if said=$("$@" 2>&1); then echo "it succeeded: $*"; exit 1; fi
          [[ $said == *"$text"* ]] || { echo "$* says: $said"; exit 1; }; }
        ashlar attach --id a raw:own.img; ashlar daemon stop; ashlar ls
        dd if=/dev/urandom of="$ASHLAR_ROOT/journal.sqlite" bs=1k seek=4 count=20 conv=notrunc status=none
        manager=$(ashlar daemon status --json | jq .pid)
        says "ashlar daemon stop, and then ashlar daemon recover" ashlar daemon recover
        says "ashlar daemon stop, and then ashlar daemon recover" ashlar daemon upgrade
        [ "$(ashlar daemon status --json | jq .pid)" = "$manager" ]
        ashlar daemon stop; ashlar daemon recover 2>&1 | grep "put aside"
        [ "$(ashlar ls --json | jq -r '.[].id')" = a ]
        rm "$ASHLAR_ROOT/journal.sqlite"*
        says "was removed or replaced" ashlar daemon recover
        ashlar daemon stop; ashlar daemon recover
        ashlar detach --id a
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }
  }
}
