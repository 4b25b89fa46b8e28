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

  init(row: GRDB.Row) {
    self.init(
      name: row[0], id: row[1], state: row[2], driver: row[3], store: row[4], storeID: row[5], thinID: row[6],
      base: row[7], baseSHA256: row[8], baseSize: row[9], size: row[10], quota: row[11], bootID: row[12],
      createdAt: row[13], temporary: row[14])
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

  init(row: GRDB.Row) {
    self.init(
      device: row[0], inode: row[1], size: row[2], modified: row[3], changed: row[4], sha256: row[5])
  }

  var values: StatementArguments { [device, inode, size, modified, changed, sha256] }
}
