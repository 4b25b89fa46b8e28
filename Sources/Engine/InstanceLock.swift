import Attachments
import BlockCore
import Glibc
import LinuxIO
import Logging

/// The lock of an instance: who holds it is its manager.
///
/// Its file says which process that is.
public struct InstanceLock: ~Copyable, Sendable {
  /// What a manager notes that ends in good order.
  private static let ended = "ended"

  private var file: FileLock
  private let directories: EngineDirectories
  /// What the holder is.
  private var role: ManagerRole
  /// What the last manager was that has not ended in good order; `nil` if there is nothing to put right.
  public let predecessor: ManagerRole?

  /// Takes the lock; a manager that was started for less makes way.
  ///
  /// - Parameters:
  ///   - directories: The instance's; they are made.
  ///   - role: What the manager is started for.
  ///   - inherited: The descriptor of the lock that the program before us in this process has held.
  ///   - deadline: How long another manager has to make way.
  ///   - clock: What measures that.
  ///   - log: Where to say so.
  /// - Throws: `busy` if another manager has it and does not make way; by errno.
  public static func take(
    _ directories: EngineDirectories, as role: ManagerRole, inherited: Int32? = nil,
    within deadline: Duration = Deadlines.standard.makeWay, clock: any HostClock, log: Logger
  ) async throws(BlockError) -> InstanceLock {
    try directories.make()
    let path = directories.lock
    let predecessor = FileLock.lastNote(of: path).flatMap { ManagerRole(rawValue: $0.note) }
    if let inherited, let file = try FileLock.keep(inherited, of: path) {
      return try InstanceLock(file, directories, role, nil)
    }
    let end = clock.now + deadline
    let silence = clock.now + min(deadline, .seconds(1))
    var asked: ProcessIdentity?
    while true {
      if let file = try FileLock.take(path) { return try InstanceLock(file, directories, role, predecessor) }
      let holder = FileLock.holder(of: path)
      // Who has taken it a moment ago has not said so yet.
      if holder == nil, clock.now < silence {
        try await clock.pause(for: .milliseconds(20))
        continue
      }
      // Who has noted that he ends is about to let go of it.
      let isEnding = holder?.note == ended
      let isLess = holder.flatMap { ManagerRole(rawValue: $0.note) }.map { $0 < role } ?? false
      guard let holder, isEnding || isLess, clock.now < end else { throw taken(directories, by: holder) }
      if !isEnding, holder.process != asked {
        log.notice(
          "process \(holder.process.pid), which was started for less (\(holder.note)), is to make way")
        holder.process.send(SIGTERM)
        asked = holder.process
      }
      try await clock.pause(for: .milliseconds(20))
    }
  }

  private init(
    _ file: consuming FileLock, _ directories: EngineDirectories, _ role: ManagerRole,
    _ predecessor: ManagerRole?
  ) throws(BlockError) {
    try file.note(role.rawValue)
    self.file = file
    self.directories = directories
    self.role = role
    self.predecessor = predecessor
  }

  private static func taken(_ directories: EngineDirectories, by holder: FileLock.Holder?) -> BlockError {
    BlockError(
      .busy, step: "start the manager of", object: directories.run,
      cause: "another one is running\(holder.map { " (process \($0.process.pid))" } ?? "")",
      remedy: "Use that one, or stop it with: ashlar daemon stop.")
  }

  /// The descriptor that holds it.
  var raw: Int32 { file.raw }

  /// Notes that the holder stays, although a command has started it.
  mutating func stay() throws(BlockError) {
    role = max(role, .daemon)
    try file.note(role.rawValue)
  }

  /// Notes that the holder ends in good order.
  func noteEnd() throws(BlockError) { try file.note(Self.ended) }

  /// Makes the directories anew that somebody has removed, and takes the lock of the file that stands there now.
  ///
  /// - Returns: Whether the lock's file was another one.
  /// - Throws: `busy` if another manager was faster; by errno.
  mutating func mend() throws(BlockError) -> Bool {
    try directories.make()
    guard !file.isOf(directories.lock) else { return false }
    guard let fresh = try FileLock.take(directories.lock) else {
      throw Self.taken(directories, by: FileLock.holder(of: directories.lock))
    }
    try fresh.note(role.rawValue)
    file = fresh
    return true
  }
}
