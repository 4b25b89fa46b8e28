import Attachments
import BlockCore
import Foundation
import LinuxIO
import Logging
import TestKit
import Testing

import Engine

/// Journals whose disk is full.
@Suite(.enabled(if: geteuid() == 0, "mounting needs root")) struct JournalSpaceTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func row(_ id: String) throws -> Journal.Row {
    // A configuration as layered images have.
    let spec = AttachmentSpec(
      scheme: "overlaybd", path: "/images/\(id)", configuration: String(repeating: "layer ", count: 200),
      transport: .auto, isReadOnly: true)
    return try Journal.Row(
      id: AttachmentID(id), exportName: "ashlar-\(id)-1", spec: spec, bootID: "boot", createdAt: 1)
  }

  private func expectNoSpace(_ journal: Journal, _ location: SourceLocation = #_sourceLocation) throws {
    let new = try row("new")
    let error = #expect(throws: BlockError.self, sourceLocation: location) { try journal.insert(new) }
    #expect(
      error?.kind == .noSpace && error?.remedy?.contains("Free") == true, "\(error?.description ?? "")",
      sourceLocation: location)
  }

  /// Somebody fills the disk again whenever something was given back: the reserve does not go to him.
  @Test func theReserveIsUsedMoreThanOnce() throws {
    let disk = try SmallDisk(scratch("disk"))
    let path = "\(disk.path)/journal.sqlite"
    let ids = (1...10).map { "a\($0)" }
    do {
      let journal = try Journal(path)
      for id in ids { try journal.insert(row(id)) }
      try disk.fill()
      try expectNoSpace(journal)
      // Until the log has all its pages and is written over from its beginning.
      for round in 1...60 {
        var row = try row("a1")
        row.createdAt = Double(round)
        try journal.save(row)
        try disk.fill()
        if round == 1 { try expectNoSpace(journal) }
      }
      for id in ids {
        try journal.remove(id)
        #expect(!journal.owes(id))
        try disk.fill()
      }
      #expect(try journal.rows().isEmpty)
    }
    disk.clear()
    let journal = try Journal(path)
    try journal.insert(row("new"))
    #expect(try journal.rows().map(\.id) == ["new"])
  }

  /// What has no room at all is owed: nothing new is taken meanwhile, and it is written when there is room.
  @Test func whatHasNoRoomIsOwed() async throws {
    let disk = try SmallDisk(scratch("disk"))
    let path = "\(disk.path)/journal.sqlite"
    do {
      let journal = try Journal(path)
      for id in ["a", "b", "c"] { try journal.insert(row(id)) }
      try journal.checkpoint()
      unlink("\(path)-reserve")
      try disk.fill()
      var changed = try row("a")
      changed.state = AttachmentState.detaching.rawValue
      let error = #expect(throws: BlockError.self) { try journal.save(changed) }
      #expect(error?.kind == .noSpace && !journal.owes("a"))
      try journal.save(changed, canWait: true)
      try journal.remove("b")
      #expect(journal.owes("a") && journal.owes("b") && !journal.owes("c"))
      var shortages = journal.shortages.makeAsyncIterator()
      #expect(await shortages.next()?.kind == .noSpace)
      try expectNoSpace(journal)
      // As things are now, not as they were.
      try journal.remove("a")
      #expect(throws: BlockError.self) { try journal.writeOwed() }
      disk.clear()
      try journal.writeOwed()
      #expect(!journal.owes("a") && !journal.owes("b"))
      #expect(try journal.rows().map(\.id) == ["c"])
      try journal.insert(row("b"))
    }
    #expect(try Journal(path).rows().map(\.id) == ["c", "b"])
  }

  /// A manager that starts on a full disk knows what there is, and can let go of it.
  @Test func aFullDiskIsNoReasonNotToOpen() throws {
    let disk = try SmallDisk(scratch("disk"))
    let path = "\(disk.path)/journal.sqlite"
    try Journal(path).insert(row("a"))
    try disk.fill()
    // By the room that was kept.
    #expect(try Journal(path).rows().map(\.id) == ["a"])
    unlink("\(path)-reserve")
    try disk.fill()
    do {
      let journal = try Journal(path)
      #expect(try journal.rows().map(\.id) == ["a"])
      try journal.remove("a")
      #expect(journal.owes("a"))
      disk.clear()
      try journal.writeOwed()
    }
    #expect(try Journal(path).rows().isEmpty)
  }

  /// Nothing new where there is no room for the reserve, also if there would be enough for its row.
  @Test func withoutAReserveNothingNewIsTaken() throws {
    let disk = try SmallDisk(scratch("disk"))
    let path = "\(disk.path)/journal.sqlite"
    try disk.fill(leaving: 500 << 10)
    let journal = try Journal(path)
    try expectNoSpace(journal)
    #expect(access("\(path)-reserve", F_OK) != 0)
    disk.clear()
    try journal.insert(row("a"))
    #expect(LinuxFileSystem.allocatedBytes("\(path)-reserve") >= 800 << 10)
  }

  /// Where no room can be kept, what is free counts.
  @Test func whereNoRoomCanBeKeptTheFreeRoomCounts() throws {
    let limitless = try SmallDisk(scratch("ramfs"), type: "ramfs", options: "mode=700")
    try Journal("\(limitless.path)/journal.sqlite").insert(row("a"))
    let image = scratch("ext2.img")
    let made = try Program.run(["mkfs.ext2", "-q", "-m", "0", image, "4M"])
    try #require(made.status == 0, "\(made.errors)")
    let disk = try SmallDisk(scratch("ext2"), type: "ext2", options: "loop", device: image)
    let journal = try Journal("\(disk.path)/journal.sqlite")
    try journal.insert(row("a"))
    #expect(access("\(disk.path)/journal.sqlite-reserve", F_OK) != 0)
    try disk.fill(leaving: 500 << 10)
    try expectNoSpace(journal)
    disk.clear()
    try journal.insert(row("b"))
  }

  /// An attach that meets a full disk between two rows leaves nothing.
  @Test func anAttachThatMeetsAFullDiskLeavesNothing() async throws {
    let instance = try TestInstance()
    let directories = instance.directories
    let disk = try SmallDisk(directories.root)
    let log = Logger(label: "test")
    let manager = try await Manager.start(
      .init(
        directories: directories, launches: ServerLaunches(program: "/bin/false"),
        deadlines: TestInstance.deadlines,
        onStep: { step throws(BlockError) in
          guard step == "start the server" else { return }
          unlink("\(directories.journal)-reserve")
          do {
            try disk.fill()
          } catch {
            throw BlockError(.unavailable, step: "fill", object: disk.path, cause: "\(error)")
          }
        }),
      try await InstanceLock.take(directories, as: .daemon, clock: LinuxClock(), log: log), .linux, log: log)
    let spec = AttachmentSpec(
      scheme: "raw", path: try instance.scratch.write("a.img", text: "content"), configuration: nil,
      transport: .auto, isReadOnly: true)
    do {
      _ = try await manager.attach(AttachmentID("a"), spec)
      #expect(Bool(false), "it was attached")
    } catch {
      #expect(error.kind == .noSpace, "\(error)")
    }
    #expect(await manager.list().isEmpty)
    disk.clear()
    // It is written by itself.
    let end = LinuxClock().now + .seconds(20)
    while try !instance.rows().isEmpty, LinuxClock().now < end {
      try await Task.sleep(for: .milliseconds(20))
    }
    #expect(try instance.rows().isEmpty)
  }
}
