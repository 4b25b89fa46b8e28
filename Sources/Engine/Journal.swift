import Attachments
import BlockCore
import FoundationEssentials
import GRDB

/// What the engine has promised and what it has made, written down before the kernel is touched.
///
/// Commits survive the death of any process. They need not survive a power cut: what they speak of, loop
/// devices and connections, does not either, and rows of an earlier boot are recognised by its ID.
package struct Journal: Sendable {
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
  }

  private let database: DatabaseQueue

  /// Opens the journal, and makes it if it is not there.
  ///
  /// - Throws: `ioError` with SQLite's words.
  package init(_ path: String) throws(BlockError) {
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
        table.column("status", .text)
      }
    }
    return migrator
  }

  /// All attachments.
  package func rows() throws(BlockError) -> [Row] {
    try Self.explained("read", "the journal") {
      try database.read { try Row.order(Column("createdAt")).fetchAll($0) }
    }
  }

  /// Writes an attachment down, or what has changed of it.
  package func save(_ row: Row) throws(BlockError) {
    try Self.explained("write", "the journal") { try database.write { try row.save($0) } }
  }

  /// Forgets an attachment that is no more.
  package func remove(_ id: String) throws(BlockError) {
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
    // That of a backstore is not the data server's.
    if let device = status.device { self.device = device }
    connection = status.connection.map(Int64.init)
    self.status = String(decoding: try encodeMessage(status), as: UTF8.self)
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
