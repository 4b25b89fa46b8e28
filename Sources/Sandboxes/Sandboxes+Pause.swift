import Attachments
import BlockCore
import DeviceMapper
import LinuxIO
import Synchronization

extension Sandboxes {
  /// Takes the device of a sandbox away and keeps its changes.
  ///
  /// - Throws: `busy` with who uses the device; everything is kept then, and it goes by itself when they are done.
  ///   `corrupt` if the kernel has given the device up; `notFound`.
  public func pause(_ name: SandboxName) async throws(BlockError) -> SandboxInfo {
    try await inTurn(name.text) { [self] () async throws(BlockError) in
      var row = try known(name)
      switch SandboxState(rawValue: row.state) {
      case .paused: return info(row)
      case .running, .pausing: break
      default: throw Self.unfit(row, "pause")
      }
      let devices = try self.devices
      if try devices.mapper.info(devices.disk(row)) != nil {
        for status in try devices.mapper.status(of: devices.disk(row)) {
          guard case .snapshot(.invalid) = status else { continue }
          throw BlockError(
            .corrupt, step: "pause", object: row.name, cause: SandboxDevices.problem(status) ?? "",
            remedy: "Its changes are lost; remove it: ashlar sandbox rm \(row.name).")
        }
      }
      try move(&row, to: .pausing)
      try await finishPause(&row, within: options.deadline)
      return info(row)
    }
  }

  /// Brings a pause to its end.
  func finishPause(_ row: inout SandboxJournal.Row, within deadline: Duration) async throws(BlockError) {
    try await takeAndSettle(row, within: deadline)
    row.state = SandboxState.paused.rawValue
    try options.onStep("note paused")
    try journal.dropReference(of: row)
  }

  private func takeAndSettle(_ row: SandboxJournal.Row, within deadline: Duration) async throws(BlockError) {
    let devices = try self.devices
    await turns.begin(row.storeID)
    defer { turns.end(row.storeID) }
    do throws(BlockError) {
      try await devices.take(row, within: deadline)
    } catch  where error.kind == .busy {
      throw BlockError(
        .busy, step: error.step, object: error.object, cause: error.cause,
        remedy: "It goes by itself as soon as they are done.", errno: error.errno)
    }
    if try devices.mapper.info(devices.pool(row)) == nil {
      try options.onStep("flush store")
      try await StoreFile.settle(row, within: SandboxDevices.innerDeadline, services.clock)
    }
  }

  /// Why nothing else can be done to a sandbox whose merge has not come to its end.
  private func unfinishedMerge(_ row: SandboxJournal.Row, _ step: String) -> BlockError {
    BlockError(
      .conflict, step: step, object: row.name,
      cause: "its merge is not finished\(watch.withLock { $0.problems[row.name] }.map { ": \($0)" } ?? "")",
      remedy: "Go on with it: ashlar sandbox merge \(row.name). Or give it up, and the base with it: "
        + "ashlar sandbox rm --force \(row.name).")
  }

  static func unfit(_ row: SandboxJournal.Row, _ step: String) -> BlockError {
    BlockError(
      .conflict, step: step, object: row.name, cause: "it is \(row.state)",
      remedy: "Wait until that is done: ashlar sandbox inspect \(row.name).")
  }

  /// Makes the device of a paused sandbox again.
  ///
  /// - Throws: `checksumMismatch` if the base has changed, `corrupt` or `conflict` if the store is damaged or another
  ///   one's, `notFound`; the store is as it was then.
  public func resume(_ name: SandboxName) async throws(BlockError) -> SandboxInfo {
    try await inTurn(name.text) { [self] () async throws(BlockError) in
      var row = try known(name)
      let devices = try self.devices
      let isThere = try devices.mapper.info(devices.disk(row)) != nil
      switch SandboxState(rawValue: row.state) {
      case .running where isThere: return info(row)
      case .pausing where isThere:
        try move(&row, to: .running)
        return info(row)
      case .running, .pausing, .paused: break
      default: throw Self.unfit(row, "resume")
      }
      let base = try await bases.open(row)
      try move(&row, to: .resuming)
      do throws(BlockError) {
        try await activate(&row, base)
      } catch {
        row.state = SandboxState.paused.rawValue
        do throws(BlockError) {
          try journal.dropReference(of: row)
        } catch let further {
          throw error.aggravated(by: further, while: "noting that it is paused")
        }
        throw error
      }
      return info(row)
    }
  }

  /// Removes a sandbox with its changes; one that is not there is removed already.
  ///
  /// - Parameters:
  ///   - name: The sandbox.
  ///   - isForced: Whether those who use its device lose it: they get I/O errors from now on, and what is left of the
  ///     device goes when they close it.
  /// - Throws: `busy` with who uses its device; it goes by itself when they are done. `unsupported` without force for one
  ///   that another release has left.
  public func remove(_ name: SandboxName, isForced: Bool = false) async throws(BlockError) {
    try await inTurn(name.text) { [self] () async throws(BlockError) in
      guard var row = try journal.row(name.text) else { return }
      if !isForced {
        try Self.checkIsUnderstood(
          row, "remove",
          "Install that release again; or remove what is left of it: ashlar sandbox rm \(name) --force.")
      }
      if row.state == SandboxState.merging.rawValue {
        guard isForced else { throw unfinishedMerge(row, "remove") }
        note(row.name, "left", "its merge is given up; \(row.base) has a part of its changes")
      }
      try move(&row, to: .removing, isDurable: true)
      if isForced, let devices = try availableDevices() {
        try options.onStep("revoke")
        try devices.revoke(row)
      }
      try await finishRemoval(row, within: options.deadline)
    }
  }

  /// Brings a removal to its end.
  func finishRemoval(_ row: SandboxJournal.Row, within deadline: Duration) async throws(BlockError) {
    do throws(BlockError) {
      try await erase(row, within: deadline)
    } catch  where error.kind == .busy {
      throw BlockError(
        .busy, step: error.step, object: error.object, cause: error.cause,
        remedy: "It goes with its changes as soon as they are done.", errno: error.errno)
    }
  }
}
