import BlockCore
import GRDB
import Glibc
import LinuxIO
import Synchronization

/// A journal's file: an SQLite database in WAL mode, of a version that this release knows, with room kept for when its
/// disk is full.
///
/// Whoever opens it is its only owner, by a lock of his own. The functions may be called from any thread.
package final class JournalStore: Sendable {
  /// What a commit outlives.
  package enum Durability: Sendable {
    /// The end of any process; not a power cut, which what it speaks of does not outlive either.
    case boot
    /// A power cut, too.
    case powerCut
  }

  /// Pages of the log after which they go into the database: the log grows no larger, and has its room then.
  private static let logPages = 100

  /// The file's path.
  package let path: String
  /// What was found of its log when it was opened: nothing that keeps anybody from using it; `nil` if all is well.
  package let notice: String?
  private let database: DatabaseQueue
  private let migrator: DatabaseMigrator
  /// Whether the disk was full when it was opened, so that nobody else can open it (``open(_:_:_:isRoomless:)``).
  private let isRoomless: Bool
  /// The file that is open, whatever its name leads to by now.
  private let identity: FileIdentity?
  /// What the next commits have to outlive.
  private let current: Mutex<Durability>
  private let durability: Durability
  /// For when the disk is full: something is written down before it is removed.
  private let reserve: SpaceReserve

  /// Opens a journal, and makes it if it is not there.
  ///
  /// - Parameters:
  ///   - path: The file's path; `-wal`, `-shm`, `-boot` and `-reserve` stand beside it.
  ///   - migrator: Its versions, each a migration whose identifier begins with its number.
  ///   - durability: What a commit outlives unless it says otherwise.
  /// - Throws: `unsupported` for one of a newer version, and nothing is done to it then; `corrupt` for one that is
  ///   damaged; others with SQLite's words.
  package init(
    _ path: String, _ migrator: DatabaseMigrator, _ durability: Durability
  ) throws(BlockError) {
    self.path = path
    self.durability = durability
    self.migrator = migrator
    current = Mutex(durability)
    // Twice what the log may need, which is written over from its beginning when it has its pages.
    let reserve = SpaceReserve("\(path)-reserve", byteCount: UInt64(2 * Self.logPages * 4096))
    self.reserve = reserve
    notice = try JournalCheck.checkLog(path)
    (database, isRoomless) = try JournalCheck.explained("open", path) {
      while true {
        do {
          return (try Self.open(path, migrator, durability), false)
        } catch let error as DatabaseError where error.mayLackSpace {
          if !reserve.giveUp() { return (try Self.open(path, migrator, durability, isRoomless: true), true) }
        }
      }
    }
    identity = LinuxFileSystem.identity(of: path)
    try JournalLog.noteBoot(path)
    keepReserve()
  }

  /// Examines the file as its next owner will: what this one has read of it before is no witness.
  ///
  /// - Throws: `corrupt` if it is damaged, or not the file any more that is open.
  package func examine() throws(BlockError) {
    var failure: BlockError?
    if LinuxFileSystem.identity(of: path) == identity {
      do throws(BlockError) {
        try JournalCheck.explained("read", path) {
          if isRoomless {
            try JournalCheck.check(database, migrator, path)
          } else {
            try JournalCheck.check(path, migrator)
          }
        }
      } catch {
        failure = error
      }
    } else {
      failure = JournalCheck.damaged(path, "the file that this manager writes to was removed or replaced")
    }
    guard let failure else { return }
    throw BlockError(
      failure.kind, step: failure.step, object: failure.object, cause: failure.cause,
      remedy: JournalCheck.isDamage(failure)
        ? "Devices go on meanwhile. To go on with them: ashlar daemon stop, and then ashlar daemon recover."
        : failure.remedy, errno: failure.errno)
  }

  /// Opens the database.
  ///
  /// - Parameter isRoomless: Whether SQLite is to go without the file of its shared memory, so that all can be read
  ///   where nothing can be written. A log that was written so is only held against itself after a sudden end.
  private static func open(
    _ path: String, _ migrator: DatabaseMigrator, _ durability: Durability, isRoomless: Bool = false
  ) throws -> DatabaseQueue {
    if isRoomless {
      // Of the log that is written from now on it would know nothing.
      unlink("\(path)-shm")
    } else {
      try JournalCheck.check(path, migrator)
    }
    var configuration = Configuration()
    configuration.prepareDatabase { database in
      if isRoomless { try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE") }
      try database.execute(sql: "PRAGMA journal_mode = WAL")
      try database.execute(sql: "PRAGMA synchronous = \(durability.pragma)")
      try database.execute(sql: "PRAGMA wal_autocheckpoint = \(logPages)")
    }
    let database = try DatabaseQueue(path: path, configuration: configuration)
    if isRoomless { try JournalCheck.check(database, migrator, path) }
    try migrator.migrate(database)
    try JournalCheck.checkColumns(database, migrator, path)
    return database
  }

  /// Takes room for when the disk is full; to be called now and then, since it may have been needed.
  package func keepReserve() { reserve.keep() }

  /// Sees to it that room is kept, before something is made that needs it to be removed again.
  ///
  /// - Throws: `noSpace` if there is not so much.
  package func requireReserve() throws(BlockError) {
    guard !reserve.keep() else { return }
    throw BlockError(
      .noSpace, step: "write the journal", object: path,
      cause: "its disk has no room for \(path)-reserve, without which nothing new is made",
      remedy: "Free 2 MiB there and try again.")
  }

  /// Runs one statement that reads.
  ///
  /// It needs no transaction, which would cost more than itself.
  package func read<Value>(_ body: (Database) throws -> Value) throws(BlockError) -> Value {
    try JournalCheck.explained("read", path) { try database.unsafeRead(body) }
  }

  /// Runs one statement that writes, in a transaction of its own.
  ///
  /// - Parameters:
  ///   - durability: What it has to outlive; what the journal's commits do if it is not said.
  ///   - usesReserve: Whether it may have the room that was kept, on a full disk.
  ///   - body: The statement.
  package func write<Value>(
    _ durability: Durability? = nil, usesReserve: Bool = true, _ body: (Database) throws -> Value
  ) throws(BlockError) -> Value {
    func attempt() throws -> Value {
      try database.writeWithoutTransaction { database in
        try set(durability ?? self.durability, database)
        return try body(database)
      }
    }
    return try JournalCheck.explained("write", path) {
      while true {
        do {
          return try attempt()
        } catch let error as DatabaseError
          where error.resultCode == .SQLITE_FULL && usesReserve && reserve.giveUp()
        {
          continue
        }
      }
    }
  }

  /// Runs statements that write, in one transaction.
  package func writeTogether<Value>(
    _ durability: Durability? = nil, _ body: (Database) throws -> Value
  ) throws(BlockError) -> Value {
    try write(durability) { database in
      var value: Value?
      try database.inTransaction {
        value = try body(database)
        return .commit
      }
      guard let value else { throw DatabaseError(message: "the transaction has no result") }
      return value
    }
  }

  /// Moves everything from the log into the database, so that the file by itself holds it; for an orderly end.
  ///
  /// - Throws: `noSpace` on a full disk: all of it is in the log still.
  package func checkpoint() throws(BlockError) {
    try JournalCheck.explained("write", path) {
      try database.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
    }
    // The log has given up its room.
    keepReserve()
  }

  /// Says what the next commits have to outlive.
  private func set(_ wanted: Durability, _ database: Database) throws {
    try current.withLock { known in
      guard known != wanted else { return }
      // With NORMAL, what is written in WAL mode is safe from our end but not from the machine's.
      try database.execute(sql: "PRAGMA synchronous = \(wanted.pragma)")
      known = wanted
    }
  }
}

extension JournalStore.Durability {
  fileprivate var pragma: String {
    switch self {
    case .boot: "NORMAL"
    case .powerCut: "FULL"
    }
  }
}

extension DatabaseError {
  /// Whether a full disk may be behind it: the file of SQLite's shared memory needs room, too.
  fileprivate var mayLackSpace: Bool {
    [.SQLITE_FULL, .SQLITE_IOERR, .SQLITE_CANTOPEN].contains(resultCode)
  }
}
