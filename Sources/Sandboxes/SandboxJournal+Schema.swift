import Attachments
import GRDB

extension SandboxJournal {
  /// What has been made of the tables, version by version.
  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: sandboxes") { database in
      try database.create(table: "instance") { $0.column("id", .text).notNull() }
      try database.create(table: "sandbox") { table in
        table.primaryKey("name", .text)
        table.column("id", .text).notNull().unique()
        for column in ["state", "driver", "store", "storeID", "base", "baseSHA256", "bootID"] {
          table.column(column, .text).notNull()
        }
        for column in ["thinID", "baseSize", "size", "quota"] { table.column(column, .integer).notNull() }
        table.column("createdAt", .double).notNull()
        table.column("temporary", .text)
      }
      try database.create(table: "base") { table in
        table.column("device", .integer).notNull()
        table.column("inode", .integer).notNull()
        for column in ["size", "modified", "changed"] { table.column(column, .integer).notNull() }
        table.column("sha256", .text).notNull()
        table.primaryKey(["device", "inode"])
      }
      // Who stands on the loop device of a base: the base's st_dev and st_ino, the sandbox's ID, the boot.
      try database.create(table: "loopReference") { table in
        table.column("device", .integer).notNull()
        table.column("inode", .integer).notNull()
        table.column("owner", .text).notNull()
        table.column("bootID", .text).notNull()
        table.primaryKey(["device", "inode", "owner"])
      }
    }
    return migrator
  }
}

// The records know their columns by position, and their statements are compiled once: through names, Codable and
// generated SQL a row cost more than what it tells the kernel to do.

extension SandboxJournal.Row: FetchableRecord {
  private static let columns = """
    name, id, state, driver, store, storeID, thinID, base, baseSHA256, baseSize, size, quota, bootID, createdAt, \
    temporary
    """
  private static let places = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
  static let select = "SELECT \(columns) FROM sandbox"
  static let insert = "INSERT INTO sandbox (\(columns)) VALUES \(places)"
  static let replace = "REPLACE INTO sandbox (\(columns)) VALUES \(places)"

  /// A column that does not hold what it is to hold is an error, not the end of the process.
  package init(row: GRDB.Row) throws {
    func text(_ place: Int) throws -> String { try row.decode(atIndex: place) }
    func number(_ place: Int) throws -> Int64 { try row.decode(atIndex: place) }
    self.init(
      name: try text(0), id: try text(1), state: try text(2), driver: try text(3), store: try text(4),
      storeID: try text(5), thinID: try number(6), base: try text(7), baseSHA256: try text(8),
      baseSize: try number(9), size: try number(10), quota: try number(11), bootID: try text(12),
      createdAt: try row.decode(atIndex: 13), temporary: try row.decode(atIndex: 14))
    guard id.utf8.count == 16, storeID.utf8.count == 32 else {
      throw DatabaseError(
        resultCode: .SQLITE_CORRUPT, message: "the IDs of \(name) have not the length of IDs")
    }
  }

  /// What another release has left that this one does not understand, in words; `nil` if it understands all of it.
  package var unknownPart: String? {
    switch (SandboxState(rawValue: state), SandboxDriver(rawValue: driver)) {
    case (nil, _), (.unknown, _): "its state is \(state)"
    case (_, nil), (_, .unknown): "its driver is \(driver)"
    default: nil
    }
  }

  var values: StatementArguments {
    [
      name, id, state, driver, store, storeID, thinID, base, baseSHA256, baseSize, size, quota, bootID,
      createdAt,
      temporary,
    ]
  }
}

extension SandboxJournal.BaseRow: FetchableRecord {
  private static let columns = "device, inode, size, modified, changed, sha256"
  static let select = "SELECT \(columns) FROM base"
  static let replace = "REPLACE INTO base (\(columns)) VALUES (?, ?, ?, ?, ?, ?)"

  init(row: GRDB.Row) throws {
    func number(_ place: Int) throws -> Int64 { try row.decode(atIndex: place) }
    self.init(
      device: try number(0), inode: try number(1), size: try number(2), modified: try number(3),
      changed: try number(4), sha256: try row.decode(atIndex: 5))
  }

  var values: StatementArguments { [device, inode, size, modified, changed, sha256] }
}
