import Attachments
import BlockCore
import FoundationEssentials
import GRDB
import Journals
import LinuxIO

/// What the sandboxes of an instance are, written down before the kernel or a file is touched.
///
/// It is a file beside the attachments' journal: what it speaks of, stores and their bases, outlives a power cut,
/// so that its commits have to.
package final class SandboxJournal: Sendable {
  /// One sandbox.
  package struct Row: Sendable {
    /// What the user calls it.
    package var name: String
    /// 16 hexadecimal digits that no other sandbox ever has: part of its devices' UUIDs.
    var id: String
    /// A ``SandboxState``.
    var state: String
    /// A ``SandboxDriver``.
    package var driver: String
    /// The store's file.
    var store: String
    /// The store's ID in its header, in hexadecimal; forks in one pool share it.
    var storeID: String
    /// The number of the device in its pool; 0 for a snapshot.
    var thinID: Int64
    /// The base's path.
    var base: String
    /// The base's content, in hexadecimal.
    var baseSHA256: String
    /// Bytes of the base.
    var baseSize: Int64
    /// Bytes of the disk.
    var size: Int64
    /// The most that the changes may take, in bytes; 0 for no limit.
    var quota: Int64
    /// The boot in which its device was made.
    var bootID: String
    /// Seconds since 1970-01-01 00:00:00 UTC.
    var createdAt: Double
    /// A file that is being written, and is removed if that is interrupted.
    var temporary: String?
  }

  /// The content of a base, computed once.
  struct BaseRow: Sendable {
    /// `st_dev` and `st_ino`.
    var device: Int64
    var inode: Int64
    /// What the digest was computed of: bytes, and the times of the last changes in nanoseconds.
    var size: Int64
    var modified: Int64
    var changed: Int64
    /// The digest in hexadecimal.
    var sha256: String
  }

  /// Tells this instance's kernel devices from those of every other: 8 hexadecimal digits.
  package let instance: String
  private let store: JournalStore
  /// Says that a sandbox was written down; for one reader at a time.
  let changes: AsyncStream<Void>
  private let changed: AsyncStream<Void>.Continuation

  /// Opens the journal, and makes it if it is not there.
  ///
  /// - Throws: As `JournalStore`: `unsupported` for one of a newer version, `corrupt` for one that is damaged.
  package init(_ path: String, random: any RandomSource) throws(BlockError) {
    store = try JournalStore(path, Self.migrator, .powerCut)
    (changes, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    instance = try store.writeTogether { database in
      if let known = try String.fetchOne(database, sql: "SELECT id FROM instance") { return known }
      let id = hex(random.next() & 0xFFFF_FFFF, digits: 8)
      try database.execute(sql: "INSERT INTO instance (id) VALUES (?)", arguments: [id])
      return id
    }
  }

  /// As `JournalStore.examine()`.
  func examine() throws(BlockError) { try store.examine() }

  /// What was found of its log when it was opened; `nil` if all is well.
  var notice: String? { store.notice }

  /// Takes room for when the disk is full; to be called now and then, since it may have been needed.
  func keepReserve() { store.keepReserve() }

  /// Moves everything into the journal's own file; for an orderly end.
  func checkpoint() throws(BlockError) { try store.checkpoint() }

  /// All sandboxes, the oldest first.
  package func rows() throws(BlockError) -> [Row] {
    try store.read { try Row.fetchAll(try $0.cachedStatement(sql: Row.select + " ORDER BY createdAt, name")) }
  }

  /// One sandbox; `nil` if there is none of that name.
  func row(_ name: String) throws(BlockError) -> Row? {
    try store.read {
      try Row.fetchOne(try $0.cachedStatement(sql: Row.select + " WHERE name = ?"), arguments: [name])
    }
  }

  /// Writes a sandbox down, or what has changed of it.
  ///
  /// - Parameter isDurable: Whether it has to outlive a power cut. What only says where a verb has come to has not:
  ///   the kernel's devices, which it is about, do not either.
  func save(_ row: Row, isDurable: Bool = true) throws(BlockError) {
    try store.write(isDurable ? .powerCut : .boot) { try Self.save(row, $0) }
    changed.yield()
  }

  /// Writes a new sandbox down; false if there is one of that name.
  ///
  /// - Throws: `noSpace` on a full disk: the room that is kept there is for what is to be removed, and has to be there.
  func insert(_ row: Row) throws(BlockError) -> Bool {
    try store.requireReserve()
    return try store.write(usesReserve: false) { database in
      try database.cachedStatement(sql: Row.insert + " ON CONFLICT (name) DO NOTHING").execute(
        arguments: row.values)
      return database.changesCount == 1
    }
  }

  /// Forgets a sandbox and what it stood on, of which nothing is left.
  ///
  /// It need not outlive a power cut: that the sandbox is to go is written down already.
  func remove(_ row: Row) throws(BlockError) {
    try store.writeTogether(.boot) { database in
      try Self.forgetReference(of: row, database)
      try database.cachedStatement(sql: "DELETE FROM sandbox WHERE name = ?").execute(arguments: [row.name])
    }
    // It may have been needed, and the store has given its room back.
    store.keepReserve()
  }

  /// The digest of a base as it was when it was last read.
  func base(_ file: FileIdentity) throws(BlockError) -> BaseRow? {
    try store.read {
      try BaseRow.fetchOne(
        try $0.cachedStatement(sql: BaseRow.select + " WHERE device = ? AND inode = ?"),
        arguments: Self.key(file))
    }
  }

  /// Notes the digest of a base.
  func save(_ base: BaseRow) throws(BlockError) {
    try store.write(usesReserve: false) {
      try $0.cachedStatement(sql: BaseRow.replace).execute(arguments: base.values)
    }
  }

  /// Notes that a sandbox stands on the loop device of a base, and what else has changed of it.
  func addReference(_ file: FileIdentity, of row: Row) throws(BlockError) {
    // It is about this boot only.
    try store.writeTogether(.boot) { database in
      try database.cachedStatement(
        sql: "REPLACE INTO loopReference (device, inode, owner, bootID) VALUES (?, ?, ?, ?)"
      ).execute(arguments: Self.key(file) + [row.id, row.bootID])
      try Self.save(row, database)
    }
    changed.yield()
  }

  /// Notes that a sandbox has left the loop device of its base, and what else has changed of it.
  func dropReference(of row: Row) throws(BlockError) {
    try store.writeTogether(.boot) { database in
      try Self.forgetReference(of: row, database)
      try Self.save(row, database)
    }
    changed.yield()
  }

  /// How many sandboxes stand on the loop device of a base in this boot.
  func referenceCount(of file: FileIdentity, bootID: String) throws(BlockError) -> Int {
    try store.read { database in
      let count = try database.cachedStatement(
        sql: "SELECT COUNT(*) FROM loopReference WHERE device = ? AND inode = ? AND bootID = ?")
      return try Int.fetchOne(count, arguments: Self.key(file) + [bootID]) ?? 0
    }
  }

  /// Forgets bases that no sandbox has, and references of other boots; says how many.
  func tidy(bootID: String) throws(BlockError) -> Int {
    try store.writeTogether { database in
      try database.execute(
        sql: "DELETE FROM base WHERE sha256 NOT IN (SELECT baseSHA256 FROM sandbox)")
      let bases = database.changesCount
      try database.execute(
        sql: "DELETE FROM loopReference WHERE bootID <> ? OR owner NOT IN (SELECT id FROM sandbox)",
        arguments: [bootID])
      return bases + database.changesCount
    }
  }

  private static func key(_ file: FileIdentity) -> StatementArguments {
    [Int64(bitPattern: file.device), Int64(bitPattern: file.inode)]
  }

  private static func save(_ row: Row, _ database: Database) throws {
    try database.cachedStatement(sql: Row.replace).execute(arguments: row.values)
  }

  private static func forgetReference(of row: Row, _ database: Database) throws {
    try database.cachedStatement(sql: "DELETE FROM loopReference WHERE owner = ?").execute(arguments: [row.id]
    )
  }
}

/// A number in hexadecimal, with leading zeros.
func hex(_ number: UInt64, digits: Int) -> String {
  let text = String(number, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}
