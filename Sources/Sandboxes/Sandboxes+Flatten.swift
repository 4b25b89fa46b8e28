import Attachments
import BlockCore
import DeviceMapper
import DiskFormats
import Images
import LinuxIO

extension Sandboxes {
  /// Writes the disk of a sandbox to a new raw file that needs neither base nor store.
  ///
  /// The file has its name only when it is whole, verified and on stable storage. Who writes to a running sandbox of
  /// dm-snapshot waits meanwhile; one of dm-thin goes on, and the file shows the moment at which this began.
  ///
  /// - Parameters:
  ///   - name: The sandbox.
  ///   - path: The new file's absolute path.
  ///   - replaces: Whether an existing file is replaced.
  /// - Throws: `conflict` if a file is there, `corrupt` for a sandbox that is not whole, before anything is written;
  ///   `cancelled`; what reading and writing throw. Then there is no new file.
  public func flatten(
    _ name: SandboxName, to path: String, replaces: Bool
  ) async throws(BlockError) -> FlattenReply {
    try await inTurn(name.text) { [self] () async throws(BlockError) in
      var row = try known(name)
      try checkTarget(path, replaces)
      switch SandboxState(rawValue: row.state) {
      case .paused, .running: break
      default: throw Self.unfit(row, "flatten")
      }
      let temporary = "\(path).\(hex(services.random.next(), digits: 16)).partial"
      row.temporary = temporary
      try options.onStep("note flatten")
      try journal.save(row)
      let result: Result<FlattenReply, BlockError>
      do throws(BlockError) {
        let reply = try await withWork(row.name, "flatten") { [self, row] progress async throws(BlockError) in
          try await flatten(row, temporary, progress)
        }
        try options.onStep("rename")
        try await services.files.rename(temporary, to: path, replaces: replaces)
        result = .success(reply)
      } catch {
        result = .failure(afterRemoving(temporary, error))
      }
      row.temporary = nil
      try journal.save(row, isDurable: false)
      return try result.get()
    }
  }

  private func checkTarget(_ path: String, _ replaces: Bool) throws(BlockError) {
    try Self.checkPath(path, "flatten to")
    try checkIsNobodys(path, "flatten to")
    guard let kind = try services.files.kind(of: path), kind != .file || !replaces else { return }
    throw BlockError(
      .conflict, step: "flatten to", object: path, cause: "there is \(kind.rawValue) already",
      remedy: kind == .file ? "Choose another name, or replace it with --force." : "Choose another name.")
  }

  private func afterRemoving(_ temporary: String, _ error: BlockError) -> BlockError {
    do throws(BlockError) {
      try services.files.remove(temporary)
      return error
    } catch let further {
      return error.aggravated(by: further, while: "removing the temporary file")
    }
  }

  private func flatten(
    _ row: SandboxJournal.Row, _ path: String, _ progress: Progress
  ) async throws(BlockError) -> FlattenReply {
    let base = try await bases.open(row)
    try options.onStep("read")
    return try await withContent(of: row, base) { [self] content async throws(BlockError) in
      let work = Flattening(
        content: content, byteCount: UInt64(row.size), files: services.files, progress: progress)
      return FlattenReply(size: UInt64(row.size), written: try await work.write(to: path))
    }
  }

  /// Runs a body with what a sandbox holds, which does not change meanwhile.
  func withContent<Value: Sendable>(
    of row: SandboxJournal.Row, _ base: BaseImages.Base,
    _ body: (any SandboxContent) async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    if row.driver == SandboxDriver.thin.rawValue { return try await withThinContent(of: row, base, body) }
    let devices = try availableDevices()
    var isHeld = false
    if let devices, let device = try devices.mapper.info(devices.disk(row)) {
      try devices.mapper.suspend(devices.disk(row))
      isHeld = !device.isSuspended
    }
    let result: Result<Value, BlockError>
    do throws(BlockError) {
      if !isHeld { _ = try await StoreFile.open(row) }
      let store = try StoreFile.file(of: row)
      if isHeld { try checkIsInUse(store, row) }
      let header = try await StoreFile.header(of: row, in: store)
      let baseContent = try LinuxFile(base.file.path, for: .readOnly)
      try base.file.checkIsSame(baseContent)
      let content = try await SnapshotContent(base: baseContent, store: store, header)
      result = .success(try await body(content))
    } catch {
      result = .failure(error)
    }
    if isHeld, let devices { try devices.mapper.resume(devices.disk(row)) }
    return try result.get()
  }

  /// Throws unless a file is the store that the device of a running sandbox stands on: another one may have its name, with
  /// older changes.
  func checkIsInUse(_ store: LinuxFile, _ row: SandboxJournal.Row) throws(BlockError) {
    let label = LoopRegistry.label(journal.instance, row.storeID, "store")
    // By the inode alone: of some file systems the kernel tells another device number than stat(2) does.
    guard let file = try LoopDevice.find(where: { $0.label == label })?.status()?.file,
      file.inode != store.identity.inode
    else { return }
    throw BlockError(
      .conflict, step: "use the store of \(row.name)", object: row.store,
      cause:
        "it is not the file that the device stands on: inode \(store.identity.inode) instead of \(file.inode)",
      remedy: "Put back what was there.")
  }

  /// The same for a sandbox in a pool: a second device of its own, made of a snapshot of that moment where somebody
  /// writes to it and there is room for both.
  private func withThinContent<Value: Sendable>(
    of row: SandboxJournal.Row, _ base: BaseImages.Base,
    _ body: (any SandboxContent) async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let copy = SandboxDevices.reading(row)
    let devices = try self.devices
    await turns.begin(row.storeID)
    defer { turns.end(row.storeID) }
    let isRunning = try devices.mapper.info(devices.disk(row)) != nil
    // A snapshot would take of the quota, and a pool that has failed makes none.
    var isHeld = !isRunning || row.quota > 0
    if !isHeld { isHeld = try !devices.isWritable(try await devices.activePool(row)) }
    if isHeld {
      return try await withHeldThinContent(of: row, base, isRunning, devices, body)
    }
    let result: Result<Value, BlockError>
    do throws(BlockError) {
      // What a reading that was interrupted has left.
      try await devices.deleteThin(copy)
      try await devices.fork(row, as: copy)
      try await growPool(row, disks: 1)
      let device = try await devices.make(copy, base, isNew: false)
      result = .success(try await body(try DeviceContent(device.path)))
    } catch {
      result = .failure(error)
    }
    do throws(BlockError) {
      try await devices.deleteThin(copy)
    } catch {
      if case .failure(let first) = result {
        throw first.aggravated(by: error, while: "removing the copy that was read")
      }
      throw error
    }
    return try result.get()
  }

  /// The same by a second device of the same blocks; who writes to the first one waits.
  private func withHeldThinContent<Value: Sendable>(
    of row: SandboxJournal.Row, _ base: BaseImages.Base, _ isRunning: Bool, _ devices: SandboxDevices,
    _ body: (any SandboxContent) async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    var copy = SandboxDevices.reading(row)
    copy.thinID = row.thinID
    if isRunning { try devices.mapper.suspend(devices.disk(row)) }
    let result: Result<Value, BlockError>
    do throws(BlockError) {
      let device = try await devices.make(copy, base, isNew: false)
      result = .success(try await body(try DeviceContent(device.path)))
    } catch {
      result = .failure(error)
    }
    if isRunning { try devices.mapper.resume(devices.disk(row)) }
    do throws(BlockError) {
      try await devices.take(copy, within: SandboxDevices.innerDeadline)
    } catch {
      if case .failure(let first) = result {
        throw first.aggravated(by: error, while: "removing the device that was read")
      }
      throw error
    }
    return try result.get()
  }

  /// Gives the pool of a sandbox room for all its disks, and for some more that are there for a while: each of them
  /// must be able to rewrite all that it shares with the others.
  func growPool(_ row: SandboxJournal.Row, disks more: UInt64) async throws(BlockError) {
    let devices = try self.devices
    let disks = UInt64(try journal.rows().count { $0.storeID == row.storeID }) + more
    if try devices.growPool(row, try await header(of: row), disks: disks) {
      note(row.name, "grown", "its pool has room for \(disks) disks")
    }
  }

  /// A number that no device of a pool has.
  func freeThinID(in storeID: String) throws(BlockError) -> Int64 {
    let used = Set(try journal.rows().filter { $0.storeID == storeID }.map(\.thinID))
    while true {
      let id = Int64(services.random.next() % (1 << 24))
      if !used.contains(id), id != SandboxDevices.readingID { return id }
    }
  }
}
