import Attachments
import BlockCore
import DeviceMapper
import DiskFormats
import Hashing
import LinuxIO
import Logging

extension Sandboxes {
  /// Makes a sandbox, usable when this returns; one that is there already of the same base and size is the answer.
  ///
  /// - Throws: `conflict` if the name or the store's file is taken; `invalidArgument` for a size or base that cannot
  ///   be; `unsupported` for a quota with a driver that cannot keep it; what making files and devices throws. Then
  ///   nothing is left.
  public func create(_ request: SandboxRequest) async throws(BlockError) -> SandboxInfo {
    let name = try SandboxName(request.name)
    try Self.checkPath(request.base, "use as a base")
    if let store = request.store { try Self.checkPath(store, "use as a store") }
    return try await inTurn(name.text) { [self] () async throws(BlockError) in
      if let there = try journal.row(name.text) { return try await confirm(there, request) }
      // Without a driver, or the right to use it, nothing could be taken back either.
      _ = try devices
      if request.rawBytes != true {
        try await ContainerFormat.refuse(
          try LinuxFile(request.base, for: .readOnly), override: ContainerFormat.rawBytesOption)
      }
      let base = try await bases.open(request.base)
      var row = try newRow(name, request, base)
      try options.onStep("note creating")
      guard try journal.insert(row) else { throw Self.taken(name) }
      do throws(BlockError) {
        try options.onStep("store")
        try await StoreFile.create(row, services)
        try await activate(&row, base, isNew: true)
      } catch {
        throw await undo(row, error)
      }
      return info(row)
    }
  }

  static func taken(_ name: SandboxName) -> BlockError {
    BlockError(
      .conflict, step: "make the sandbox", object: name.text, cause: "there is another one of that name",
      remedy: "Choose another name, or remove that one: ashlar sandbox rm \(name).")
  }

  /// What a request asks for, if it has been done already.
  private func confirm(
    _ row: SandboxJournal.Row, _ request: SandboxRequest
  ) async throws(BlockError) -> SandboxInfo {
    let name = try SandboxName(row.name)
    let base = try LinuxFileSystem().resolve(request.base)
    guard row.base == base, UInt64(row.size) == request.size ?? UInt64(row.baseSize),
      request.store == nil || request.store == row.store, UInt64(row.quota) == request.quota ?? 0,
      request.driver == nil || request.driver?.rawValue == row.driver,
      row.state == SandboxState.running.rawValue
    else { throw Self.taken(name) }
    // Another file may have its name by now, or it another content; what was read of it before is known by inode, size
    // and times.
    let content = try await bases.open(base)
    guard content.sha256.description == row.baseSHA256, content.byteCount == UInt64(row.baseSize) else {
      throw BlockError(
        .conflict, step: "make the sandbox", object: name.text,
        cause: "there is one of that name, and its base \(base) has been replaced or changed since",
        remedy: "Choose another name, or remove that one: ashlar sandbox rm \(name).")
    }
    return info(row)
  }

  private func newRow(
    _ name: SandboxName, _ request: SandboxRequest, _ base: BaseImages.Base
  ) throws(BlockError) -> SandboxJournal.Row {
    func reject(_ kind: BlockError.Kind, _ cause: String, _ remedy: String) -> BlockError {
      BlockError(kind, step: "make the sandbox", object: name.text, cause: cause, remedy: remedy)
    }
    let size = request.size ?? base.byteCount
    guard size >= base.byteCount, size <= Limits.sandboxBytes, size % 512 == 0 else {
      throw reject(
        .invalidArgument, "its size is \(size) bytes, and its base has \(base.byteCount)",
        "Choose a multiple of 512 that is not smaller than the base.")
    }
    let driver = request.driver ?? (request.quota == nil ? .snapshot : .thin)
    guard driver != .unknown else {
      throw reject(.unsupported, "there is no driver of that name", "Choose snapshot or thin.")
    }
    if let quota = request.quota {
      guard driver == .thin else {
        throw reject(
          .unsupported, "a store of dm-snapshot that becomes full cannot tell its writer so with ENOSPC",
          "Use --driver thin for a quota.")
      }
      guard (StoreFile.thinBlock...Limits.sandboxBytes).contains(quota) else {
        throw reject(
          .invalidArgument, "its quota is \(quota) bytes",
          "A quota has at least \(StoreFile.thinBlock) bytes.")
      }
    }
    let id = hex(services.random.next(), digits: 16)
    let storeID = hex(services.random.next(), digits: 16) + hex(services.random.next(), digits: 16)
    let store = request.store ?? defaultStore(name.text)
    return SandboxJournal.Row(
      name: name.text, id: id, state: SandboxState.creating.rawValue, driver: driver.rawValue, store: store,
      storeID: storeID, thinID: 0, base: base.file.path, baseSHA256: base.sha256.description,
      baseSize: Int64(base.byteCount), size: Int64(size), quota: Int64(request.quota ?? 0), bootID: bootID,
      createdAt: Double(services.clock.sinceEpoch.components.seconds), temporary: nil)
  }

  /// Makes the devices of a sandbox, and notes that it runs; if that fails, there are none.
  func activate(
    _ row: inout SandboxJournal.Row, _ base: BaseImages.Base, isNew: Bool = false
  ) async throws(BlockError) {
    row.bootID = bootID
    try options.onStep("note reference")
    try journal.addReference(base.file.identity, of: row)
    let devices = try self.devices
    // Those that share a pool take turns.
    await turns.begin(row.storeID)
    defer { turns.end(row.storeID) }
    let device = try await devices.make(row, base, isNew: isNew)
    do throws(BlockError) {
      guard try BlockDevice.byteCount(ofNode: "/dev/dm-\(device.numbers.minor)") == UInt64(row.size) else {
        throw BlockError(
          .ioError, step: "check the size of", object: device.path,
          cause: "it is not the \(row.size) bytes that it ought to be")
      }
      try move(&row, to: .running, isDurable: isNew)
    } catch {
      throw await devices.takingBack(row, after: error)
    }
  }

  /// Takes back a sandbox that could not be made, and gives the error with what went wrong meanwhile.
  func undo(_ row: SandboxJournal.Row, _ error: BlockError) async -> BlockError {
    do throws(BlockError) {
      try await erase(row)
      return error
    } catch let further {
      return error.aggravated(by: further, while: "taking back what was made")
    }
  }

  /// Removes all that there is of a sandbox: devices, store, row.
  ///
  /// - Throws: `busy` if somebody uses the disk; then everything is as it was.
  func erase(
    _ row: SandboxJournal.Row, within deadline: Duration = SandboxDevices.innerDeadline
  ) async throws(BlockError) {
    await turns.begin(row.storeID)
    defer { turns.end(row.storeID) }
    if let devices = try availableDevices() { try await devices.take(row, within: deadline) }
    try await removeStore(row)
    try options.onStep("forget")
    try journal.remove(row)
  }

  /// The kernel's devices; `nil` on a host that cannot have any.
  func availableDevices() throws(BlockError) -> SandboxDevices? {
    do throws(BlockError) {
      return try devices
    } catch  where error.kind == .unavailable {
      return nil
    }
  }

  /// Gives the space of a sandbox's changes back; only when no device has them any more.
  func removeStore(_ row: SandboxJournal.Row) async throws(BlockError) {
    // Only forks in a pool share a store.
    let rows = row.driver == SandboxDriver.thin.rawValue ? try journal.rows() : []
    if rows.contains(where: { $0.storeID == row.storeID && $0.id != row.id }) {
      // Without the store there is nothing to give back.
      guard services.files.exists(row.store), let devices = try availableDevices() else { return }
      do throws(BlockError) {
        try await devices.deleteThin(row)
      } catch  where ![.busy, .cancelled].contains(error.kind) {
        note(row.name, "left", "its room in the pool is given back with the last of its forks: \(error)")
      }
      return
    }
    try options.onStep("remove store")
    let isNameOurs = row.store == defaultStore(row.name)
    if try await !StoreFile.remove(row, isNameOurs: isNameOurs, services) {
      note(row.name, "left", "\(row.store) is not its store and stays")
    }
  }
}
