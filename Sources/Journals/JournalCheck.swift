import BlockCore
import GRDB
import Glibc
import LinuxIO
import SystemPackage

/// Looks at a journal before it is opened for writing.
package enum JournalCheck {
  /// Checks a journal's log without changing anything of it.
  ///
  /// - Returns: What is strange about it; `nil` if nothing is, or there is no journal.
  /// - Throws: `corrupt` for one that is damaged.
  static func checkLog(_ path: String) throws(BlockError) -> String? {
    switch JournalLog.check(path) {
    case .sound: return nil
    case .torn(let cause): return cause
    case .cut(let cause): throw damaged(path, cause)
    }
  }

  /// Checks a journal without changing anything of it.
  ///
  /// - Throws: `unsupported` for one of a newer version, `corrupt` for one that is damaged; SQLite's errors.
  static func check(_ path: String, _ migrator: DatabaseMigrator) throws {
    var status = stat()
    guard stat(path, &status) == 0, status.st_size > 0 else { return }
    var configuration = Configuration()
    configuration.readonly = true
    try check(try DatabaseQueue(path: path, configuration: configuration), migrator, path)
  }

  /// As ``check(_:_:)``, for one that is open.
  static func check(_ database: DatabaseQueue, _ migrator: DatabaseMigrator, _ path: String) throws {
    try database.unsafeRead { database in
      try checkVersion(database, migrator, path)
      let words = try String.fetchAll(database, sql: "PRAGMA integrity_check(3)")
      guard words == ["ok"] else { throw damaged(path, words.joined(separator: "; ")) }
    }
  }

  /// Refuses a journal that a newer release has written.
  private static func checkVersion(
    _ database: Database, _ migrator: DatabaseMigrator, _ path: String
  ) throws {
    guard try migrator.hasBeenSuperseded(database) else { return }
    let known = migrator.migrations.compactMap(version).max() ?? 0
    let applied = try migrator.appliedIdentifiers(database)
    let found = applied.compactMap(version).max() ?? 0
    // A newer one has all that this release knows, and more.
    guard found > known, applied.isSuperset(of: migrator.migrations) else {
      throw damaged(path, "its table of versions holds what no release has written")
    }
    throw BlockError(
      .unsupported, step: "open", object: path,
      cause: "it is of version \(found), and this release knows versions up to \(known)",
      remedy:
        "A newer release has written it: install that one again. Nothing was changed, and devices go on.")
  }

  /// Refuses a journal whose tables have not the columns that its versions give them: SQLite checks trees, and not names.
  static func checkColumns(_ database: DatabaseQueue, _ migrator: DatabaseMigrator, _ path: String) throws {
    let model = try DatabaseQueue()
    try migrator.migrate(model)
    let (wanted, found) = (try columns(of: model), try columns(of: database))
    if let missing = wanted.subtracting(found).min() { throw damaged(path, "it has no column \(missing)") }
  }

  private static func columns(of database: DatabaseQueue) throws -> Set<String> {
    try database.read { database in
      let names = try String.fetchAll(
        database,
        sql: """
          SELECT m.name || '.' || c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c
          WHERE m.type = 'table'
          """)
      return Set(names)
    }
  }

  /// The number that a migration's identifier begins with.
  private static func version(_ identifier: String) -> Int? { Int(identifier.prefix { $0.isNumber }) }

  /// A journal that cannot be used any more.
  static func damaged(_ path: String, _ cause: String) -> BlockError {
    BlockError(
      .corrupt, step: "use the journal", object: path, cause: "it is damaged: \(cause)",
      remedy:
        "Devices go on meanwhile. To go on with them: ashlar daemon recover. It puts the file aside and writes "
        + "down anew what is there.")
  }

  /// Runs a body and says what SQLite's errors mean.
  static func explained<Value>(
    _ step: String, _ path: String, _ body: () throws -> Value
  ) throws(BlockError) -> Value {
    do {
      return try body()
    } catch let error as BlockError {
      throw error
    } catch let error as DatabaseError {
      let words = error.message ?? error.resultCode.description
      switch error.resultCode {
      case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_FORMAT, .SQLITE_ERROR, .SQLITE_MISMATCH:
        throw damaged(path, words)
      case .SQLITE_FULL:
        throw BlockError(
          .noSpace, step: "\(step) the journal", object: path, cause: words,
          remedy: "Free some space there and try again.")
      default:
        throw BlockError(
          .ioError, step: "\(step) the journal", object: path, cause: words,
          remedy: "Check the disk that it stands on.")
      }
    } catch let error as RowDecodingError {
      throw damaged(path, "\(error)")
    } catch {
      throw BlockError(.ioError, step: "\(step) the journal", object: path, cause: "\(error)")
    }
  }

  /// Whether an error is that of a damaged journal, which ``putAside(_:)`` helps against.
  package static func isDamage(_ error: BlockError) -> Bool {
    error.kind == .corrupt && error.step == "use the journal"
  }

  /// Puts a journal aside with what belongs to it, so that a new one can be made: `NAME.damaged-N`.
  ///
  /// - Returns: Its new path.
  /// - Throws: By errno.
  package static func putAside(_ path: String) throws(BlockError) -> String {
    var number = 1
    while access("\(path).damaged-\(number)", F_OK) == 0 { number += 1 }
    let place = "\(path).damaged-\(number)"
    // The log first: without its database it is nobody's, and the other way round it would be another one's.
    for suffix in ["-wal", "-shm", "-boot", ""] where access("\(path)\(suffix)", F_OK) == 0 {
      guard rename("\(path)\(suffix)", "\(place)\(suffix)") == 0 else {
        throw BlockError(errno: Errno(rawValue: errno), step: "put aside", object: "\(path)\(suffix)")
      }
    }
    return place
  }
}
