import Attachments
import BlockCore
import Engine
import Foundation
import GRDB
import LinuxIO
import Logging
import TestKit
import Testing

import Sandboxes

/// What every release has said and written is understood by this one, and what only a later one says is no harm.
@Suite struct ReleaseTests {
  private static let releases = SmallFile.entries(Fixtures.path("releases")).filter { Int($0) != nil }

  private func lines(_ file: String) throws -> [[UInt8]] {
    try Fixtures.bytes("releases/\(file)").split(separator: UInt8(ascii: "\n")).map { Array($0) }
  }

  private func managers(_ text: String) -> (message: ManagerMessage?, request: UInt64?) {
    guard case .message(let message, let request) = Incoming<ManagerMessage>(Array(text.utf8)) else {
      return (nil, nil)
    }
    return (message, request)
  }

  private func servers(_ text: String) -> (message: ServerMessage?, request: UInt64?) {
    guard case .message(let message, let request) = Incoming<ServerMessage>(Array(text.utf8)) else {
      return (nil, nil)
    }
    return (message, request)
  }

  @Test(arguments: releases)
  func messagesOfEachRelease(release: String) throws {
    var kinds: Set<String> = []
    for line in try lines("\(release)/manager.messages") {
      guard case .message(let message, _) = Incoming<ManagerMessage>(line) else {
        Issue.record("\(String(decoding: line, as: UTF8.self))")
        continue
      }
      kinds.insert(message.kind)
    }
    for line in try lines("\(release)/server.messages") {
      guard case .message(let message, _) = Incoming<ServerMessage>(line) else {
        Issue.record("\(String(decoding: line, as: UTF8.self))")
        continue
      }
      kinds.insert(message.kind)
    }
    #expect(
      kinds.isSuperset(of: [
        "attach", "commit", "report", "detach", "change", "handOver", "status", "attached", "failed",
        "counters",
        "released", "detached", "handedOver", "changed",
      ]))
  }

  /// A server of the first release takes a message apart as Swift's own coder does: one key, and what it knows beneath.
  @Test func messagesOfNowAreThoseOfTheFirstReleaseAndMore() throws {
    enum First: Decodable {
      case report
      case commit
      case change(DeviceChange)
    }
    func first(_ message: ManagerMessage, _ request: UInt64?) throws -> First {
      try JSONDecoder().decode(First.self, from: Data(try message.encoded(request: request)))
    }
    guard case .report = try first(.report, 7), case .commit = try first(.commit, nil),
      case .change(.size(4096)) = try first(.change(.size(4096)), 8)
    else {
      Issue.record("another message")
      return
    }
  }

  @Test func whatIsNotKnownIsIgnored() throws {
    let counters = servers(#"{"counters":{"_0":{"reads":7,"latency":3},"request":12,"more":[]},"extra":1}"#)
    guard case .counters(let snapshot)? = counters.message else {
      Issue.record("no counters")
      return
    }
    #expect(snapshot.reads == 7 && snapshot.writes == 0 && counters.request == 12)
    let status =
      #"{"status":{"_0":{"device":"/dev/loop7","mood":"good","hello":{"version":3,"spec":{"transport":"ublk"}}}}}"#
    guard case .status(let found)? = servers(status).message else {
      Issue.record("no status")
      return
    }
    #expect(
      found.device == "/dev/loop7" && found.size == 0 && found.hello?.version == 3 && found.hello?.spec == nil
    )
    guard
      case .failed(let error)? = servers(#"{"failed":{"_0":{"kind":"tired","cause":"no coffee"}}}"#).message
    else {
      Issue.record("no failure")
      return
    }
    #expect(error.kind == .ioError && error.cause == "no coffee" && error.step == "")
    for (text, kind) in [
      (#"{"dance":{"_0":{"a":1},"request":4}}"#, "dance"),
      (#"{"change":{"_0":{"colour":{}},"request":4}}"#, "change"),
    ] {
      guard case .notUnderstood(kind, request: 4, _) = Incoming<ManagerMessage>(Array(text.utf8)) else {
        Issue.record("\(text)")
        continue
      }
    }
    for text in ["", "[]", "{}", "7", #"{"report":7}"#, "\u{0}"] {
      #expect(managers(text).message == nil, "\(text)")
    }
    #expect(
      try JSONDecoder().decode([AttachmentState].self, from: Data(#"["attached","dancing"]"#.utf8)) == [
        .attached, .unknown,
      ])
  }

  @Test(arguments: releases)
  func journalsOfEachRelease(release: String) throws {
    let scratch = try Scratch()
    for name in SmallFile.entries(Fixtures.path("releases/\(release)")) where name.contains(".sqlite") {
      try scratch.copyFixture("releases/\(release)/\(name)")
    }
    let rows = try Journal(scratch("journal.sqlite")).rows()
    #expect(rows.map(\.id) == ["golden", "layers"] && rows.map(\.state) == ["attached", "detaching"])
    #expect(try rows[0].decodedSpec().scheme == "raw" && rows[1].decodedSpec().configuration != nil)
    #expect(try rows[0].decodedStatus()?.size == 16 << 20 && rows[1].decodedStatus()?.layers == 2)
    let sandboxes = try SandboxJournal(scratch("sandboxes.sqlite"), random: HostServices.linux.random)
    #expect(try sandboxes.rows().map(\.name) == ["one", "two"])
    #expect(try sandboxes.rows().allSatisfy { $0.unknownPart == nil })
    #expect(try sandboxes.rows().map(\.driver) == ["snapshot", "thin"] && sandboxes.instance.count == 8)
  }

  /// A journal of a newer release is not touched, and the error says what to do.
  @Test func journalsOfLaterReleasesAreLeftAlone() throws {
    let scratch = try Scratch()
    func files() throws -> [[UInt8]] {
      try ["journal.sqlite", "journal.sqlite-wal", "sandboxes.sqlite"].map { try scratch.bytes($0) }
    }
    for name in ["journal.sqlite", "journal.sqlite-wal", "sandboxes.sqlite"] {
      try scratch.copyFixture("releases/1/\(name)")
    }
    // Of the version of now, first of all.
    _ = try Journal(scratch("journal.sqlite"))
    _ = try SandboxJournal(scratch("sandboxes.sqlite"), random: HostServices.linux.random)
    for name in ["journal", "sandboxes"] {
      // Not the last one who has it open, so that its log stays.
      let database = try DatabaseQueue(path: scratch("\(name).sqlite"))
      try database.write {
        try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99: what comes'), ('98: before')")
      }
      try database.writeWithoutTransaction { _ = try $0.checkpoint(.passive) }
      try FileManager.default.copyItem(atPath: scratch("\(name).sqlite"), toPath: scratch("\(name).copy"))
      try database.close()
      try FileManager.default.removeItem(atPath: scratch("\(name).sqlite"))
      try FileManager.default.moveItem(atPath: scratch("\(name).copy"), toPath: scratch("\(name).sqlite"))
    }
    try scratch.write("journal.sqlite-wal", [])
    let before = try files()
    let one = #expect(throws: BlockError.self) { try Journal(scratch("journal.sqlite")) }
    let two = #expect(throws: BlockError.self) {
      try SandboxJournal(scratch("sandboxes.sqlite"), random: HostServices.linux.random)
    }
    for error in [one, two] {
      let words = error?.description ?? ""
      #expect(
        error?.kind == .unsupported && words.contains("version 99") && words.contains("newer release"),
        "\(words)")
      #expect(error?.object.hasSuffix(".sqlite") == true)
    }
    #expect(try files() == before)
  }

  /// A sandbox that a later release has written down is left as it is, and its store with it.
  @Test func sandboxesOfLaterReleasesAreLeftAlone() async throws {
    let scratch = try Scratch()
    try scratch.copyFixture("releases/2/sandboxes.sqlite")
    let store = try scratch.write("store", [1, 2, 3])
    let database = try DatabaseQueue(path: scratch("sandboxes.sqlite"))
    try await database.write {
      try $0.execute(
        sql: "UPDATE sandbox SET state = 'migrating', store = ? WHERE name = 'one'", arguments: [store])
      try $0.execute(
        sql: "UPDATE sandbox SET driver = 'zfs', store = ? WHERE name = 'two'", arguments: [store])
    }
    let before = try database.read { try Row.fetchAll($0, sql: "SELECT * FROM sandbox") }
    let sandboxes = try Sandboxes(
      .init(directory: scratch.path), .linux, log: Logger(label: "test"))
    try await sandboxes.recover()
    #expect(try await sandboxes.list().map(\.state) == [.unknown, .unknown])
    for name in ["one", "two"] {
      let name = try SandboxName(name)
      await #expect(throws: BlockError.self) { try await sandboxes.pause(name) }
      await #expect(throws: BlockError.self) { try await sandboxes.resume(name) }
      do throws(BlockError) {
        try await sandboxes.remove(name)
        Issue.record("\(name) was removed")
      } catch {
        #expect(error.kind == .unsupported && error.description.contains("--force"), "\(error)")
      }
    }
    let after = try database.read { try Row.fetchAll($0, sql: "SELECT * FROM sandbox") }
    #expect(after == before)
    #expect(try scratch.bytes("store") == [1, 2, 3])
  }
}
