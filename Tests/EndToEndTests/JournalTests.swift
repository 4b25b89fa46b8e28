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

    /// On a full disk nothing new is attached, and everything can be taken apart.
    @Test func aFullDiskHoldsUpNoDetach() throws {
      let root = instance.scratch("small")
      try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
      try #require(try Program.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", root]).status == 0)
      defer { _ = try? Program.run(["umount", "-l", root]) }
      func ashlar(_ arguments: String...) throws -> Program.Outcome {
        try Program.run(
          [Instance.command] + arguments, environment: ["ASHLAR_ROOT": root, "ASHLAR_RUN": instance.run])
      }
      for name in ["a", "b", "c"] {
        let attach = try ashlar("attach", "--id", name, try disk(name))
        #expect(attach.status == 0, "\(attach.errors)")
      }
      _ = try Program.run(["sh", "-c", "cat /dev/zero > \(root)/filler || true"])
      let refused = try ashlar("attach", "--id", "d", try disk("d"))
      #expect(refused.status == 1 && refused.errors.contains("Free some space"), "\(refused.errors)")
      // Also with a manager that has found the disk full.
      for name in ["a", "b"] {
        let detach = try ashlar("detach", "--id", name)
        #expect(detach.status == 0, "\(detach.errors)")
        #expect(try ashlar("daemon", "stop").status == 0)
      }
      _ = try Program.run(["sh", "-c", "cat /dev/zero >> \(root)/filler || true"])
      let last = try ashlar("detach", "--id", "c")
      #expect(last.status == 0, "\(last.errors)")
      #expect(try ashlar("ls", "--json").line == "[]")
      #expect(try ashlar("daemon", "stop").status == 0)
    }
  }
}
