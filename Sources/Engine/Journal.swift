import Attachments
import BlockCore
import FoundationEssentials
import GRDB
import Journals
import LinuxIO
import Synchronization

/// What the engine has promised and what it has made, written down before the kernel is touched.
///
/// Commits survive the death of any process. They need not survive a power cut: what they speak of, loop
/// devices and connections, does not either, and rows of an earlier boot are recognised by its ID.
///
/// What only says what is so already does not wait for the disk: where there is no room for it, it is owed, and written
/// when there is; see ``owes(_:)``. The functions may be called from any thread.
package final class Journal: Sendable {
  /// One attachment.
  package struct Row: Codable, FetchableRecord, PersistableRecord, Sendable {
    package static let databaseTableName = "attachment"

    /// What the user calls it.
    package var id: String
    /// The name of the exported file, and so of the loop device's backing file; never used twice.
    package var exportName: String
    /// What is attached: an ``AttachmentSpec`` as JSON.
    package var spec: String
    /// An ``AttachmentState``.
    package var state: String
    /// The boot that it belongs to.
    package var bootID: String
    /// Seconds since 1970-01-01 00:00:00 UTC.
    package var createdAt: Double
    /// The data server, once it runs.
    package var serverPid: Int32?
    /// When that started, in clock ticks since boot.
    package var serverStart: Int64?
    /// The device's path, once it is there.
    package var device: String?
    /// The FUSE connection's number, once it is there.
    package var connection: Int64?
    /// What the data server said of the device: a ``ServerStatus`` as JSON; `nil` until it is there.
    package var status: String?
    /// What is served: an ``ImagePin`` as JSON; `nil` until something is.
    package var pin: String?
    /// The flush that failed in a data server: a ``BlockCore/FlushFailure`` as JSON; `nil` if none did, or it was reset.
    package var flushFailure: String?
  }

  /// A row, or what is left of one.
  package enum Entry: Sendable {
    /// One that says what it is to say.
    case row(Row)
    /// One that does not, with its ID if it has one, and why.
    case unreadable(id: String?, reason: String)
  }

  /// What is to be written of a row.
  private enum Change {
    case save(Row)
    case remove
  }

  private let store: JournalStore
  /// Writers take turns, so that nothing is written over by what is older.
  private let turns = Mutex(())
  /// What could not be written, by its row's ID; nobody waits with this lock.
  private let owed = Mutex<[String: Change]>([:])
  /// Why something could not be written, whenever there was nothing else that could not.
  package let shortages: AsyncStream<BlockError>
  private let shortage: AsyncStream<BlockError>.Continuation

  /// Opens the journal, and makes it if it is not there.
  ///
  /// - Throws: As `JournalStore`: `unsupported` for one of a newer version, `corrupt` for one that is damaged.
  package init(_ path: String) throws(BlockError) {
    store = try JournalStore(path, Self.migrator, .boot)
    (shortages, shortage) = AsyncStream.makeStream()
  }

  /// As `JournalStore.examine()`.
  package func examine() throws(BlockError) { try store.examine() }

  /// What was found of its log when it was opened; `nil` if all is well.
  package var notice: String? { store.notice }

  /// The versions, the oldest first; each is appended, and none ever changes.
  private static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: attachments") { database in
      try database.create(table: Row.databaseTableName) { table in
        table.primaryKey("id", .text)
        table.column("exportName", .text).notNull().unique()
        table.column("spec", .text).notNull()
        table.column("state", .text).notNull()
        table.column("bootID", .text).notNull()
        table.column("createdAt", .double).notNull()
        table.column("serverPid", .integer)
        table.column("serverStart", .integer)
        table.column("device", .text)
        table.column("connection", .integer)
        table.column("status", .text)
      }
    }
    migrator.registerMigration("2: pins and failed flushes") { database in
      try database.alter(table: Row.databaseTableName) { table in
        table.add(column: "pin", .text)
        table.add(column: "flushFailure", .text)
      }
    }
    return migrator
  }

  /// All attachments that can be read.
  package func rows() throws(BlockError) -> [Row] {
    try entries().compactMap { entry in
      guard case .row(let row) = entry else { return nil }
      return row
    }
  }

  /// All rows; one that cannot be read keeps no other from it.
  package func entries() throws(BlockError) -> [Entry] {
    try store.read { database in
      let found = try GRDB.Row.fetchAll(
        database, sql: "SELECT * FROM \(Row.databaseTableName) ORDER BY createdAt")
      return found.map { found in
        do {
          return .row(try Row(row: found))
        } catch {
          return .unreadable(id: String.fromDatabaseValue(found["id"]), reason: "\(error)")
        }
      }
    }
  }

  /// Writes a new attachment down.
  ///
  /// - Throws: `noSpace` on a full disk: the room that is kept there is for what is to be taken apart, and has to be
  ///   there; what kept something that is owed from being written.
  package func insert(_ row: Row) throws(BlockError) {
    try turns.withLock { _ throws(BlockError) in
      try writeAllOwed()
      try store.requireReserve()
      try store.write(usesReserve: false) { try row.save($0) }
    }
  }

  /// Writes down what has changed of an attachment.
  ///
  /// - Parameter canWait: Whether it may be owed: it says what is so already, and the next manager would find that out
  ///   by what is there.
  /// - Throws: Why it cannot be written; if it can wait, only damage.
  package func save(_ row: Row, canWait: Bool = false) throws(BlockError) {
    try write(.save(row), row.id, canWait: canWait)
  }

  /// Forgets an attachment that is no more, at once or when there is room.
  ///
  /// - Throws: As ``save(_:canWait:)`` for what can wait.
  package func remove(_ id: String) throws(BlockError) {
    try write(.remove, id, canWait: true)
  }

  /// Whether something of an attachment is owed.
  package func owes(_ id: String) -> Bool { owed.withLock { $0[id] != nil } }

  /// Writes what is owed.
  ///
  /// - Throws: Why it cannot be written; it is still owed then.
  package func writeOwed() throws(BlockError) {
    try turns.withLock { _ throws(BlockError) in try writeAllOwed() }
  }

  private func write(_ change: Change, _ id: String, canWait: Bool) throws(BlockError) {
    try turns.withLock { _ throws(BlockError) in
      do throws(BlockError) {
        try write(change, id)
      } catch  where canWait && Self.isOfTheDisk(error) {
        let isFirst = owed.withLock { owed in
          defer { owed[id] = change }
          return owed.isEmpty
        }
        if isFirst { shortage.yield(error) }
        return
      }
      owed.withLock { $0[id] = nil }
      do throws(BlockError) {
        try writeAllOwed()
        // It may have been needed.
        if case .remove = change { store.keepReserve() }
      } catch  where Self.isOfTheDisk(error) {
        // There was room for this one only.
        return
      }
    }
  }

  private func write(_ change: Change, _ id: String) throws(BlockError) {
    _ = try store.write { database in
      switch change {
      case .save(let row): try row.save(database)
      case .remove: try Row.deleteOne(database, key: id)
      }
    }
  }

  /// Writes what is owed; in turn.
  private func writeAllOwed() throws(BlockError) {
    for (id, change) in owed.withLock({ $0 }) {
      try write(change, id)
      owed.withLock { $0[id] = nil }
    }
  }

  /// Whether an error is the disk's, and not the journal's own.
  private static func isOfTheDisk(_ error: BlockError) -> Bool { [.noSpace, .ioError].contains(error.kind) }

  /// Moves everything into the journal's own file; for an orderly end.
  package func checkpoint() throws(BlockError) { try store.checkpoint() }
}

extension Journal.Row {
  /// A row for something that is about to be attached.
  package init(
    id: AttachmentID, exportName: String, spec: AttachmentSpec, bootID: String, createdAt: Double
  ) throws(BlockError) {
    self.id = id.text
    self.exportName = exportName
    self.bootID = bootID
    self.createdAt = createdAt
    state = AttachmentState.attaching.rawValue
    self.spec = String(decoding: try encodeMessage(spec), as: UTF8.self)
  }

  /// Notes what the data server has said of the device.
  package mutating func note(_ status: ServerStatus) throws(BlockError) {
    // Who serves it stands in columns of its own.
    var status = status
    status.hello = nil
    // That of a backstore is not the data server's.
    if let device = status.device { self.device = device }
    connection = status.connection.map(Int64.init)
    // A server that only makes everything fail serves nothing.
    if let pin = status.pin { self.pin = String(decoding: try encodeMessage(pin), as: UTF8.self) }
    // Nobody but a user takes it back.
    if flushFailure == nil, let failure = status.flushFailure {
      flushFailure = String(decoding: try encodeMessage(failure), as: UTF8.self)
    }
    var rest = status
    rest.pin = nil
    rest.flushFailure = nil
    self.status = String(decoding: try encodeMessage(rest), as: UTF8.self)
  }

  /// The data server, whether it runs still or not; `nil` if none was noted.
  package var server: ProcessIdentity? {
    guard let serverPid, let startTime = serverStart.flatMap(UInt64.init(exactly:)) else { return nil }
    return ProcessIdentity(pid: serverPid, startTime: startTime)
  }

  /// What is served, unpacked.
  package func decodedPin() throws(BlockError) -> ImagePin? {
    guard let pin else { return nil }
    return try decodeMessage(ImagePin.self, Array(pin.utf8))
  }

  /// The flush that failed, unpacked.
  package func decodedFlushFailure() throws(BlockError) -> FlushFailure? {
    guard let flushFailure else { return nil }
    return try decodeMessage(FlushFailure.self, Array(flushFailure.utf8))
  }

  /// What the data server has said of the device, unpacked.
  package func decodedStatus() throws(BlockError) -> ServerStatus? {
    guard let status else { return nil }
    return try decodeMessage(ServerStatus.self, Array(status.utf8))
  }

  /// The spec, unpacked.
  package func decodedSpec() throws(BlockError) -> AttachmentSpec {
    try decodeMessage(AttachmentSpec.self, Array(spec.utf8))
  }
}
