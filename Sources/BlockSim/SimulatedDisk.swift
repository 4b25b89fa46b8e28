import BlockCore
import Synchronization
import SystemPackage

/// The files of a simulated host: a seeded disk that can be slow, fail at a chosen operation, and lose
/// its power.
public final class SimulatedDisk: FileSystem {
  private let conditions: DiskConditions
  private let files = Mutex<[String: SimulatedFile]>([:])

  /// Makes an empty disk; all its chances come from the seed.
  public init(seed: UInt64) {
    conditions = DiskConditions(seed: seed)
  }

  /// Which share of first-phase operations has to wait, 0 to 1.
  public func setWaitShare(_ share: Double) {
    conditions.state.withLock { $0.waitShare = share }
  }

  /// Fails the `number`-th operation from now, counted from 1; `nil` for none.
  public func failOperation(_ number: UInt64?, as kind: BlockError.Kind = .ioError) {
    conditions.state.withLock { state in
      state.failAt = number.map { state.operations + $0 }
      state.failure = kind
    }
  }

  /// How many operations there have been.
  public var operationCount: UInt64 { conditions.state.withLock { $0.operations } }

  /// Makes a file, or replaces one.
  @discardableResult
  public func add(_ path: String, _ content: [UInt8]) -> SimulatedFile {
    let file = SimulatedFile(conditions, name: path, content: content, inode: conditions.random())
    files.withLock { $0[path] = file }
    return file
  }

  /// The paths of all files.
  public var paths: [String] { files.withLock { $0.keys.sorted() } }

  /// Cuts the power: of each sector that was not synchronized, either the old or the new content stays.
  public func cutPower() {
    for file in files.withLock({ Array($0.values) }) {
      file.flushes.set(nil)
      file.state.withLock { fileState in
        for number in fileState.dirty.sorted() where conditions.random() & 1 == 0 {
          SimulatedFile.settle(number, &fileState)
        }
        fileState.content = fileState.durable
        fileState.dirty = []
      }
    }
  }

  public func open(_ path: String, for access: FileAccess) async throws(BlockError) -> any BlockFile {
    try conditions.operate("open", on: path)
    guard let file = files.withLock({ $0[path] }) else {
      throw BlockError(errno: .noSuchFileOrDirectory, step: "open", object: path)
    }
    return file
  }

  public func resolve(_ path: String) throws(BlockError) -> String {
    guard exists(path) else { throw BlockError(errno: .noSuchFileOrDirectory, step: "find", object: path) }
    return path
  }

  public func exists(_ path: String) -> Bool {
    files.withLock { $0[path] != nil }
  }

  public func contents(of path: String, limit: Int) async throws(BlockError) -> [UInt8] {
    let file = try await open(path, for: .readOnly)
    guard file.byteCount <= UInt64(limit) else {
      throw BlockError(.exhausted, step: "read", object: path, cause: "it is longer than \(limit) bytes")
    }
    return try await file.bytes(at: 0, byteCount: Int(file.byteCount), using: Workspace())
  }

  public func create(_ path: String, byteCount: UInt64) async throws(BlockError) -> any BlockFile {
    try conditions.operate("create", on: path)
    guard !exists(path) else { throw BlockError(errno: .fileExists, step: "create", object: path) }
    return add(path, [UInt8](repeating: 0, count: Int(byteCount)))
  }

  public func kind(of path: String) -> FileKind? { exists(path) ? .file : nil }

  /// Nobody else is there who could.
  public func checkIsUnused(_ path: String) {}

  public func rename(_ path: String, to target: String, replaces: Bool) async throws(BlockError) {
    try conditions.operate("rename", on: path)
    guard replaces || !exists(target) else {
      throw BlockError(errno: .fileExists, step: "rename", object: path)
    }
    let isThere = files.withLock { files in
      guard let file = files.removeValue(forKey: path) else { return false }
      files[target] = file
      return true
    }
    if !isThere { throw BlockError(errno: .noSuchFileOrDirectory, step: "rename", object: path) }
  }

  public func remove(_ path: String) throws(BlockError) {
    try conditions.operate("remove", on: path)
    files.withLock { $0[path] = nil }
  }

  public func identity(of path: String) -> FileIdentity? { files.withLock { $0[path]?.identity } }

  public func writeResultFile(
    _ path: String, _ bytes: [UInt8], sparing spared: Set<FileIdentity>
  ) async throws(BlockError) {
    try conditions.operate("create", on: path)
    if let identity = identity(of: path), spared.contains(identity) {
      throw BlockError(.conflict, step: "write", object: path, cause: "it is a file of the image itself")
    }
    let beginning = files.withLock { $0[path] }?.state.withLock {
      Array($0.content.prefix(ResultFile.markByteCount))
    }
    guard ResultFile.isOutcome(beginning ?? []) else { throw ResultFile.notAnOutcome(path) }
    add(path, bytes)
  }
}

/// How a simulated disk fares: shared by its files.
final class DiskConditions: Sendable {
  struct State {
    var operations: UInt64 = 0
    var failAt: UInt64?
    var failure = BlockError.Kind.ioError
    var waitShare = 0.0
    var random: SplitMix64
  }

  let state: Mutex<State>

  init(seed: UInt64) {
    state = Mutex(State(random: SplitMix64(seed: seed)))
  }

  func random() -> UInt64 { state.withLock { $0.random.next() } }

  func makesWait() -> Bool {
    state.withLock { state in
      state.waitShare > 0 && Double(state.random.next() >> 11) * 0x1p-53 < state.waitShare
    }
  }

  func operate(_ step: String, on name: String) throws(BlockError) {
    let failure = state.withLock { state -> BlockError.Kind? in
      state.operations += 1
      return state.operations == state.failAt ? state.failure : nil
    }
    if let failure { throw BlockError(failure, step: step, object: name, cause: "simulated failure") }
  }
}

extension HostServices {
  /// A simulated host: its disk, a clock that stands still, and chance from a seed.
  public static func simulated(disk: SimulatedDisk, seed: UInt64) -> HostServices {
    HostServices(files: disk, clock: SimulatedClock(), random: SeededRandom(seed: seed))
  }
}
