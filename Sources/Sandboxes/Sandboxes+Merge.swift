import Attachments
import BlockCore
import CLinux
import DeviceMapper
import DiskFormats
import Glibc
import Images
import LinuxIO
import Synchronization

extension Sandboxes {
  /// Writes the changes of a sandbox into its base; the sandbox is no more when this returns.
  ///
  /// The kernel does it (snapshot-merge), so that it can go on after a power cut: the journal knows of it, and the
  /// next start brings it to its end. One that has failed on its way goes on when it is asked for again.
  ///
  /// - Throws: `conflict` if other sandboxes have that base, `unsupported` for a larger disk or one in a pool, `busy`
  ///   if somebody uses the device or the base.
  public func merge(_ name: SandboxName) async throws(BlockError) {
    try await inTurn(name.text) { [self] () async throws(BlockError) in
      var row = try known(name)
      func refuse(_ kind: BlockError.Kind, _ cause: String, _ remedy: String) -> BlockError {
        BlockError(kind, step: "merge", object: row.name, cause: cause, remedy: remedy)
      }
      switch SandboxState(rawValue: row.state) {
      case .paused, .running: break
      case .merging: return try await finishMergeOrTell(row)
      default: throw Self.unfit(row, "merge")
      }
      guard row.driver == SandboxDriver.snapshot.rawValue, row.size == row.baseSize else {
        throw refuse(
          .unsupported, "only a sandbox of dm-snapshot that is as large as its base can be merged",
          "Flatten it instead: ashlar sandbox flatten.")
      }
      let others = try dependants(of: row.base).filter { $0 != row.name }
      guard others.isEmpty else {
        throw refuse(
          .conflict, "its base is that of \(others.joined(separator: ", "))",
          "Remove those first, or flatten.")
      }
      // Held no longer than it is looked at: the merge locks it for itself.
      let identity = try await bases.open(row).file.identity
      if row.state == SandboxState.running.rawValue {
        try move(&row, to: .pausing)
        try await finishPause(&row, within: options.deadline)
      }
      _ = try await StoreFile.open(row)
      try move(&row, to: .merging, isDurable: true)
      var hasBegun = false
      do throws(BlockError) {
        try await beginMerge(row, into: identity, &hasBegun)
      } catch {
        // Somebody else has the base, or there are no loop devices: it is as it was.
        if !hasBegun { try move(&row, to: .paused, isDurable: true) }
        throw error
      }
      try await finishMergeOrTell(row)
    }
  }

  /// The same as ``finishMerge(_:)``; what kept it from its end is known to those who look at the sandbox.
  func finishMergeOrTell(_ row: SandboxJournal.Row) async throws(BlockError) {
    do throws(BlockError) {
      try await finishMerge(row)
      watch.withLock { $0.problems[row.name] = nil }
    } catch {
      watch.withLock { $0.problems[row.name] = error.description }
      throw error
    }
  }

  /// Makes the device that merges, unless it is there.
  ///
  /// - Parameters:
  ///   - identity: Which file the base is; `nil` if it has a part of the changes already, so that its content tells nothing.
  ///   - hasBegun: Set when the base may have been written to.
  private func beginMerge(
    _ row: SandboxJournal.Row, into identity: FileIdentity?, _ hasBegun: inout Bool
  ) async throws(BlockError) {
    let devices = try self.devices
    if try devices.mapper.info(devices.disk(row)) != nil { return }
    // What an interrupted merge has left of the store is still one that can be read.
    let store = try await StoreFile.open(row)
    let base = try HeldFile(row.base, isShared: false)
    let byteCount = try HeldFile.status(of: base.descriptor, row.base).st_size
    guard identity == nil || base.identity == identity, Int64(byteCount) == row.baseSize else {
      throw BlockError(
        .conflict, step: "merge into", object: row.base,
        cause: "it is not the base: inode \(base.identity.inode) of \(byteCount) bytes was found",
        remedy: "Put the base back.")
    }
    try options.onStep("merge loops")
    let baseLoop = try devices.registry.attach(
      base,
      .init(
        isReadOnly: false, blockSize: 512,
        label: LoopRegistry.label(journal.instance, row.storeID, "merge")))
    let storeLoop = try devices.attach(store, "store", offset: SandboxStoreHeader.storeOffset)
    try options.onStep("merge")
    hasBegun = true
    _ = try devices.mapper.create(
      SandboxDevices.name(row), uuid: devices.disk(row).description,
      Table(
        sectors: UInt64(row.size) / 512,
        .snapshotMerge(
          .init(
            origin: try baseLoop.numbers(), store: try storeLoop.numbers(), persistence: .persistent,
            chunkSectors: SnapshotExceptions.chunkByteCount / 512))))
  }

  /// Brings a merge to its end; begun again, it goes on where it was.
  private func finishMerge(_ row: SandboxJournal.Row) async throws(BlockError) {
    var hasBegun = true
    try await beginMerge(row, into: nil, &hasBegun)
    try await withWork(row.name, "merge") { [self] progress async throws(BlockError) in
      let devices = try self.devices
      try await waitForMerge(row, devices, progress)
      try options.onStep("merged")
      try await devices.take(row, within: SandboxDevices.innerDeadline)
      let base = try await freed(row.base)
      guard fsync(base.descriptor.raw) == 0 else {
        throw BlockError(
          .ioError, step: "flush", object: row.base, cause: "its changes may not be on its disk")
      }
    }
    // From here on the store may be gone: who goes on has only to remove what is left.
    var row = row
    try move(&row, to: .removing, isDurable: true)
    try await erase(row)
  }

  /// The base, when the loop device of the merge has let go of it.
  private func freed(_ path: String) async throws(BlockError) -> HeldFile {
    let end = services.clock.now + SandboxDevices.innerDeadline
    while true {
      do throws(BlockError) {
        return try HeldFile(path, isShared: false)
      } catch  where error.kind == .busy && services.clock.now < end {
        try await services.clock.pause(for: .milliseconds(5))
      }
    }
  }

  private func waitForMerge(
    _ row: SandboxJournal.Row, _ devices: SandboxDevices, _ progress: Progress
  ) async throws(BlockError) {
    var rest: UInt64?
    while true {
      guard case .snapshot(let status)? = try devices.mapper.status(of: devices.disk(row)).first else {
        throw BlockError(.ioError, step: "merge", object: row.name, cause: "its device does not merge")
      }
      switch status {
      case .active(let used, let metadata):
        let left = (used.used - min(metadata, used.used)) * 512
        if let rest { progress.advance(by: rest - min(left, rest)) } else { progress.expect(left) }
        rest = left
        // Only the metadata is left.
        if used.used <= metadata { return }
      case .invalid, .overflow, .mergeFailed, .unknown:
        throw BlockError(
          .ioError, step: "merge", object: row.name,
          cause: SandboxDevices.problem(.snapshot(status)) ?? "it failed",
          remedy: "Look into the kernel's log; the changes that were not merged are in \(row.store).")
      }
      try await services.clock.pause(for: .milliseconds(20))
    }
  }
}
