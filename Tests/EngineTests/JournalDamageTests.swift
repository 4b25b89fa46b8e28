import Attachments
import BlockCore
import Foundation
import GRDB
import LinuxIO
import TestKit
import Testing

import Engine
import Journals

/// Journals that are damaged: it is said, and never an empty journal.
@Suite struct JournalDamageTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// What a manager with devices leaves that was killed: database, log and shared memory.
  private func leave(_ count: Int = 3) throws -> String {
    let live = scratch("live.sqlite")
    // Each has a log of its own from its first page on.
    for suffix in ["", "-wal", "-shm", "-boot", "-reserve"] { unlink("\(live)\(suffix)") }
    let journal = try Journal(live)
    for number in 1...count {
      let spec = AttachmentSpec(
        scheme: "raw", path: "/images/\(number)", configuration: nil, transport: .auto, isReadOnly: true)
      try journal.insert(
        Journal.Row(
          id: AttachmentID("a\(number)"), exportName: "ashlar-a\(number)-\(number)", spec: spec,
          bootID: "boot",
          createdAt: Double(number)))
    }
    try withExtendedLifetime(journal) {
      for suffix in ["", "-wal", "-shm", "-boot"] {
        try? FileManager.default.removeItem(atPath: scratch("j.sqlite\(suffix)"))
        try FileManager.default.copyItem(atPath: "\(live)\(suffix)", toPath: scratch("j.sqlite\(suffix)"))
      }
    }
    return scratch("j.sqlite")
  }

  private func flip(_ path: String, _ place: Int) throws {
    var bytes = Array(try Data(contentsOf: URL(filePath: path)))
    bytes[place] ^= 1
    try Data(bytes).write(to: URL(filePath: path))
  }

  private func expectDamage(
    _ path: String, _ words: String = "damaged", _ location: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: BlockError.self, sourceLocation: location) { try Journal(path).rows() }
    let said = error?.description ?? ""
    #expect(
      error.map(JournalCheck.isDamage) == true && (words.isEmpty || said.contains(words))
        && said.contains("ashlar daemon recover"),
      "\(said)", sourceLocation: location)
  }

  @Test func aSoundOneIsOpened() throws {
    let path = try leave()
    #expect(try Journal(path).rows().map(\.id) == ["a1", "a2", "a3"])
    #expect(JournalLog.check(path) == .sound)
  }

  /// Any byte of what the log holds: it is noticed before a row is believed.
  @Test func aFlippedBitInTheLogIsNoticed() throws {
    let path = try leave()
    let log = try Data(contentsOf: URL(filePath: "\(path)-wal"))
    for place in [0, 9, 17, 25, 32, 36, 40, 44, 48, 1000, log.count / 2, log.count - 5000, log.count - 1] {
      let path = try leave()
      try flip("\(path)-wal", place)
      expectDamage(path)
    }
  }

  @Test(arguments: [0, 40, 5000])
  func aLogThatIsCutIsNoticed(byteCount: Int) throws {
    let path = try leave()
    #expect(truncate("\(path)-wal", byteCount) == 0)
    expectDamage(path, "its log")
    let other = try leave()
    unlink("\(other)-wal")
    expectDamage(other, "is gone")
  }

  /// The end of a boot may cost what was newest of the log, and that is no damage, whatever the clock said before and after
  /// it; within a boot nothing may be missing, even if the clock was put back.
  @Test func bootsAreNotToldApartByClocks() throws {
    let path = try leave()
    try scratch.write("j.sqlite-boot", Array("11111111-2222-3333-4444-555555555555".utf8))
    #expect(truncate("\(path)-wal", 5000) == 0)
    #expect(try Journal(path).rows().count < 3)
    let other = try leave()
    #expect(truncate("\(other)-wal", 5000) == 0)
    var long = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
    #expect(utimensat(AT_FDCWD, "\(other)-shm", &long, 0) == 0)
    expectDamage(other, "its log")
  }

  /// An earlier release has noted no boot.
  @Test func withoutABootClocksDecide() throws {
    let path = try leave()
    unlink("\(path)-boot")
    #expect(truncate("\(path)-wal", 5000) == 0)
    expectDamage(path, "its log")
    let other = try leave()
    unlink("\(other)-boot")
    #expect(truncate("\(other)-wal", 5000) == 0)
    var long = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
    #expect(utimensat(AT_FDCWD, "\(other)-shm", &long, 0) == 0)
    #expect(try Journal(other).rows().count < 3)
  }

  /// What a process that was killed while it wrote leaves is no damage: it was never committed.
  @Test func whatWasNeverCommittedIsNoDamage() throws {
    let path = try leave()
    let handle = try FileHandle(forWritingTo: URL(filePath: "\(path)-wal"))
    try handle.seekToEnd()
    let log = Array(try Data(contentsOf: URL(filePath: "\(path)-wal")))
    // A frame with the log's mark whose page is not there yet.
    try handle.write(contentsOf: Data(log[32..<32 + 24] + [UInt8](repeating: 0, count: 4096)))
    try handle.close()
    #expect(try Journal(path).rows().count == 3)
  }

  @Test func whatIsNoDatabaseIsDamage() throws {
    expectDamage(
      try scratch.write("random.sqlite", (0..<5000).map { UInt8(truncatingIfNeeded: $0 * 7919 >> 3) }))
    // In order, and then bytes of the table's tree.
    let path = try leave()
    do {
      let journal = try Journal(path)
      try journal.checkpoint()
      #expect(try Data(contentsOf: URL(filePath: "\(path)-wal")).isEmpty)
    }
    #expect(try Journal(path).rows().count == 3)
    try flip(path, 4096)
    expectDamage(path)
  }

  /// A version of no release, where one of ours was, is none of a newer release.
  @Test func aVersionThatWasFlippedIsDamage() throws {
    let path = try leave()
    do {
      let journal = try DatabaseQueue(path: path)
      try journal.write {
        try $0.execute(
          sql: "UPDATE grdb_migrations SET identifier = '98 attachments' WHERE identifier = '1: attachments'")
      }
    }
    expectDamage(path, "versions")
  }

  /// A column of another name is seen before the first row that cannot be written.
  @Test func aTableOfAnotherFormIsDamage() throws {
    let path = try leave()
    do {
      let journal = try DatabaseQueue(path: path)
      try journal.write { try $0.execute(sql: "ALTER TABLE attachment RENAME COLUMN status TO statur") }
    }
    expectDamage(path, "attachment.status")
  }

  /// One row that cannot be read keeps no other from being taken over.
  @Test func aRowThatCannotBeReadIsNamed() throws {
    let path = try leave()
    do {
      let journal = try DatabaseQueue(path: path)
      try journal.write { try $0.execute(sql: "UPDATE attachment SET serverPid = 'who' WHERE id = 'a2'") }
    }
    let entries = try Journal(path).entries()
    #expect(entries.count == 3)
    let unreadable = entries.compactMap { if case .unreadable(let id, _) = $0 { id } else { nil } }
    #expect(unreadable == ["a2"])
  }

  @Test func aDamagedOneIsPutAside() throws {
    for number in 1...2 {
      let path = try leave()
      #expect(try JournalCheck.putAside(path) == "\(path).damaged-\(number)")
      #expect(
        SmallFile.entries(scratch.path).filter { $0.hasPrefix("j.sqlite.damaged-\(number)") }.count == 4)
      #expect(access(path, F_OK) != 0 && access("\(path)-wal", F_OK) != 0)
    }
  }
}
