import Attachments
import BlockCore
import FoundationEssentials
import GRDB

/// What the engine has promised and what it has made, written down before the kernel is touched.
///
/// Commits survive the death of any process. They need not survive a power cut: what they speak of, loop
/// devices and connections, does not either, and rows of an earlier boot are recognised by its ID.
struct Journal: Sendable {
  /// One attachment.
  struct Row: Codable, FetchableRecord, PersistableRecord, Sendable {
    static let databaseTableName = "attachment"

    /// What the user calls it.
    var id: String
    /// The name of the exported file, and so of the loop device's backing file; never used twice.
    var exportName: String
    /// What is attached: an ``AttachmentSpec`` as JSON.
    var spec: String
    /// An ``AttachmentState``.
    var state: String
    /// The boot that it belongs to.
    var bootID: String
    /// Seconds since 1970-01-01 00:00:00 UTC.
    var createdAt: Double
    /// The data server, once it runs.
    var serverPid: Int32?
    /// When that started, in clock ticks since boot.
    var serverStart: Int64?
    /// The device's path, once it is there.
    var device: String?
    /// The FUSE connection's number, once it is there.
    var connection: Int64?
  }

  private let database: DatabaseQueue

  /// Opens the journal, and makes it if it is not there.
  ///
  /// - Throws: `ioError` with SQLite's words.
  init(_ path: String) throws(BlockError) {
    database = try Self.explained("open", path) {
      var configuration = Configuration()
      configuration.prepareDatabase { database in
        try database.execute(sql: "PRAGMA journal_mode = WAL")
        try database.execute(sql: "PRAGMA synchronous = NORMAL")
      }
      let database = try DatabaseQueue(path: path, configuration: configuration)
      try Self.migrator.migrate(database)
      return database
    }
  }

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
      }
    }
    return migrator
  }

  /// All attachments.
  func rows() throws(BlockError) -> [Row] {
    try Self.explained("read", "the journal") {
      try database.read { try Row.order(Column("createdAt")).fetchAll($0) }
    }
  }

  /// Writes an attachment down, or what has changed of it.
  func save(_ row: Row) throws(BlockError) {
    try Self.explained("write", "the journal") { try database.write { try row.save($0) } }
  }

  /// Forgets an attachment that is no more.
  func remove(_ id: String) throws(BlockError) {
    try Self.explained("write", "the journal") { _ = try database.write { try Row.deleteOne($0, key: id) } }
  }

  private static func explained<Value>(
    _ step: String, _ object: String, _ body: () throws -> Value
  ) throws(BlockError) -> Value {
    do {
      return try body()
    } catch let error as DatabaseError {
      let isFull = error.resultCode == .SQLITE_FULL
      throw BlockError(
        isFull ? .noSpace : .ioError, step: step, object: object, cause: "\(error)",
        remedy: isFull ? "Free some space there and try again." : "Check the disk that it stands on.")
    } catch {
      throw BlockError(.ioError, step: step, object: object, cause: "\(error)")
    }
  }
}

extension Journal.Row {
  /// A row for something that is about to be attached.
  init(
    id: AttachmentID, exportName: String, spec: AttachmentSpec, bootID: String, createdAt: Double
  ) throws(BlockError) {
    self.id = id.text
    self.exportName = exportName
    self.bootID = bootID
    self.createdAt = createdAt
    state = AttachmentState.attaching.rawValue
    do {
      self.spec = String(decoding: try JSONEncoder().encode(spec), as: UTF8.self)
    } catch {
      throw BlockError(.ioError, step: "write", object: "the journal", cause: "\(error)")
    }
  }

  /// The spec, unpacked.
  func decodedSpec() throws(BlockError) -> AttachmentSpec {
    try decodeMessage(AttachmentSpec.self, Array(spec.utf8))
  }
}
