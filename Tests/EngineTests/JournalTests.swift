import Attachments
import BlockCore
import Engine
import Foundation
import LinuxIO
import TestKit
import Testing

/// The journal: what is written down is there for the next manager.
@Suite struct JournalTests {
  private func row(_ name: String) throws -> Journal.Row {
    let spec = AttachmentSpec(
      scheme: "overlaybd", path: "/images/\(name)", configuration: "{}", transport: .auto, isReadOnly: true)
    return try Journal.Row(
      id: AttachmentID(name), exportName: "ashlar-\(name)-1", spec: spec, bootID: "boot", createdAt: 1)
  }

  @Test func rowsOutliveTheJournalsOwner() throws {
    let scratch = try Scratch()
    let path = scratch("journal.sqlite")
    var row = try row("one")
    do {
      let journal = try Journal(path)
      try journal.save(row)
      var status = ServerStatus(exportName: row.exportName)
      status.device = "/dev/loop7"
      status.connection = 41
      status.size = 1 << 40
      try row.note(status)
      row.state = AttachmentState.attached.rawValue
      try journal.save(row)
      try journal.save(self.row("two"))
    }
    let journal = try Journal(path)
    let rows = try journal.rows()
    #expect(rows.map(\.id) == ["one", "two"])
    #expect(rows[0].device == "/dev/loop7" && rows[0].connection == 41)
    #expect(try rows[0].decodedStatus()?.size == 1 << 40)
    #expect(try rows[0].decodedSpec().path == "/images/one")
    #expect(try rows[1].decodedStatus() == nil)
    try journal.remove("one")
    try journal.remove("one")
    #expect(try journal.rows().map(\.id) == ["two"])
  }

  @Test func aFileThatIsNoJournalIsRefused() throws {
    let scratch = try Scratch()
    let path = try scratch.write("journal.sqlite", text: String(repeating: "not a database ", count: 500))
    let error = #expect(throws: BlockError.self) { try Journal(path) }
    #expect(error?.object == path && error?.kind == .corrupt)
  }

  @Test func aSpecTellsWhatIsDifferent() throws {
    let spec = AttachmentSpec(
      scheme: nil, path: "/a", configuration: "x", transport: .auto, isReadOnly: false)
    #expect(spec.difference(to: spec) == nil)
    var other = spec
    other.configuration = "y"
    #expect(spec.difference(to: other)?.contains("has changed") == true)
    other = spec
    other.isReadOnly = true
    #expect(spec.difference(to: other) == "it is not read-only")
    other = spec
    other.path = "/b"
    #expect(spec.difference(to: other) == "its image is /a, not /b")
    other = spec
    other.transport = .fuse
    #expect(spec.difference(to: other)?.contains("auto") == true)
  }
}

/// Names of attachments, also on their way through a URL.
@Suite struct AttachmentIDTests {
  @Test(arguments: ["a", "demo-1", "ü%2F", "a?b#c", "100%", "~", "-x", "..."])
  func goodOnes(text: String) throws {
    let id = try AttachmentID(text)
    #expect(!id.escapedInURL.contains("/") && !id.escapedInURL.contains("?"))
    #expect(try AttachmentID(id.escapedInURL.removingPercentEncoding ?? "") == id)
    let coded = try JSONDecoder().decode([AttachmentID].self, from: JSONEncoder().encode([id]))
    #expect(coded == [id])
  }

  @Test(arguments: [
    "", "a/b", "a b", "a\u{A0}b", "a\u{7F}", "\u{1B}[2J", ".", "..", String(repeating: "ü", count: 33),
  ])
  func badOnes(text: String) {
    let error = #expect(throws: BlockError.self) { try AttachmentID(text) }
    #expect(error?.kind == .invalidArgument)
    #expect("\(error?.description ?? "")".unicodeScalars.allSatisfy { $0.value >= 32 })
  }
}

/// Waiting with a deadline.
@Suite struct RaceTests {
  @Test func whoIsFirstWins() async throws {
    let clock = LinuxClock()
    #expect(await Race.first(within: .seconds(60), clock: clock) { 7 } == 7)
    let began = clock.now
    let late = await Race.first(within: .milliseconds(20), clock: clock) {
      // Cancelled when the race is over.
      do { try await clock.sleep(for: .seconds(60)) } catch { return "cancelled" }
      return "late"
    }
    #expect(late == nil && clock.now - began < .seconds(30))
  }
}
