import Attachments
import BlockCore
import DeviceMapper
import DiskFormats
import Glibc
import LinuxIO

extension Sandboxes {
  /// Makes a second sandbox with what the first one holds at this moment; it runs if the first one does.
  ///
  /// In a pool nothing is copied. A store of dm-snapshot is: by reference where its file system can do that, and
  /// otherwise its data; who writes to the first one waits for that.
  ///
  /// - Throws: `conflict` if the name is taken; as ``create(_:)`` and ``resume(_:)``.
  public func fork(_ name: SandboxName, as new: SandboxName) async throws(BlockError) -> SandboxInfo {
    guard name != new else {
      throw BlockError(
        .invalidArgument, step: "fork", object: name.text, cause: "a fork cannot have its original's name")
    }
    // Always in the same order: two who fork each other's name must not wait for each other.
    let names = [name.text, new.text].sorted()
    let wasRunning = try await inTurn(names[0]) { [self] () async throws(BlockError) in
      try await inTurn(names[1]) { [self] () async throws(BlockError) in
        let row = try known(name)
        switch SandboxState(rawValue: row.state) {
        case .paused, .running: break
        default: throw Self.unfit(row, "fork")
        }
        try await fork(row, as: new)
        return row.state == SandboxState.running.rawValue
      }
    }
    guard wasRunning else { return try await inspect(new) }
    do throws(BlockError) {
      return try await resume(new)
    } catch {
      do throws(BlockError) {
        try await remove(new)
      } catch let further {
        throw error.aggravated(by: further, while: "taking back what was made")
      }
      throw error
    }
  }

  private func fork(_ row: SandboxJournal.Row, as name: SandboxName) async throws(BlockError) {
    var copy = row
    copy.name = name.text
    copy.id = hex(services.random.next(), digits: 16)
    copy.state = SandboxState.creating.rawValue
    copy.createdAt = Double(services.clock.sinceEpoch.components.seconds)
    copy.temporary = nil
    let isThin = row.driver == SandboxDriver.thin.rawValue
    if isThin {
      copy.thinID = try freeThinID(in: row.storeID)
    } else {
      copy.storeID = hex(services.random.next(), digits: 16) + hex(services.random.next(), digits: 16)
      copy.store = defaultStore(name.text)
    }
    try options.onStep("note fork")
    guard try journal.insert(copy) else { throw Self.taken(name) }
    do throws(BlockError) {
      if isThin { try await forkInPool(row, copy) } else { try await copyStore(of: row, to: copy) }
      copy.state = SandboxState.paused.rawValue
      try options.onStep("note paused")
      try journal.save(copy)
    } catch {
      throw await undo(copy, error)
    }
  }

  private func forkInPool(_ row: SandboxJournal.Row, _ copy: SandboxJournal.Row) async throws(BlockError) {
    let devices = try self.devices
    await turns.begin(row.storeID)
    defer { turns.end(row.storeID) }
    try await devices.fork(row, as: copy)
    // The copy is in the journal already.
    try await growPool(row, disks: 0)
    try await devices.takePool(row)
  }

  /// What the store of a sandbox says of itself.
  ///
  /// - Throws: `conflict` for somebody else's store, what reading throws.
  func header(of row: SandboxJournal.Row) async throws(BlockError) -> SandboxStoreHeader {
    try await StoreFile.header(of: row, in: try StoreFile.file(of: row))
  }

  private func copyStore(of row: SandboxJournal.Row, to copy: SandboxJournal.Row) async throws(BlockError) {
    let devices = try availableDevices()
    var isHeld = false
    if let devices, let device = try devices.mapper.info(devices.disk(row)) {
      try options.onStep("hold")
      try devices.mapper.suspend(devices.disk(row))
      isHeld = !device.isSuspended
    }
    let result: Result<Void, BlockError>
    do throws(BlockError) {
      try options.onStep("copy store")
      if !isHeld { _ = try await StoreFile.open(row) }
      let store = try StoreFile.file(of: row)
      if isHeld { try checkIsInUse(store, row) }
      var header = try await StoreFile.header(of: row, in: store)
      header.id = StoreFile.bytes(of: copy.storeID)
      let temporary = StoreFile.temporary(for: copy)
      try await LinuxFileSystem.copySparse(row.store, to: temporary)
      let file = try LinuxFile(temporary, for: .readWrite)
      let bytes = try header.encoded()
      try await file.write(at: 0, from: bytes.span.bytes, isDurable: false)
      try await file.synchronize()
      result = .success(())
    } catch {
      result = .failure(error)
    }
    if isHeld, let devices { try devices.mapper.resume(devices.disk(row)) }
    try result.get()
    try await services.files.rename(StoreFile.temporary(for: copy), to: copy.store, replaces: false)
  }
}

extension SandboxDevices {
  /// Makes a snapshot of a sandbox's disk in its pool, as it is at this moment.
  func fork(_ row: SandboxJournal.Row, as copy: SandboxJournal.Row) async throws(BlockError) {
    let pool = try await activePool(row)
    let isThere = try mapper.info(disk(row)) != nil
    if isThere { try mapper.suspend(disk(row)) }
    let result: Result<Void, BlockError>
    do throws(BlockError) {
      try createThin("create_snap \(copy.thinID) \(row.thinID)", pool)
      result = .success(())
    } catch {
      result = .failure(error)
    }
    if isThere { try mapper.resume(disk(row)) }
    try result.get()
  }
}
