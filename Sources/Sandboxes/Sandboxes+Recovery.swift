import Attachments
import BlockCore
import DeviceMapper
import LinuxIO
import Logging
import Synchronization

extension Sandboxes {
  /// Takes over what the journal speaks of: adopts what lives, finishes or takes back what was interrupted, and
  /// removes what is ours and nobody's; it touches nothing else.
  ///
  /// One sandbox that cannot be taken over does not keep the others from it; it is logged and left. What takes longer, as
  /// a merge or a disk that does not answer, goes on behind this call: nothing else is done to that sandbox meanwhile.
  public func recover() async throws(BlockError) {
    tidyNames()
    let rows = try journal.rows()
    if rows.isEmpty { return }
    // Not a child: it does not end with the waiting for it.
    let recovery = Task { await recover(rows) }
    let isDone = await Race.first(within: Limits.recoveryTime, clock: services.clock) {
      await recovery.value
      return true
    }
    if isDone == nil { log.notice("some sandboxes are still being taken over; see which: ashlar sandbox ls") }
  }

  private func recover(_ rows: [SandboxJournal.Row]) async {
    await withTaskGroup(of: Void.self) { group in
      for row in rows {
        group.addTask { [self] in
          do throws(BlockError) {
            try await inTurn(row.name) { [self] () async throws(BlockError) in try await recover(row) }
          } catch  where error.kind == .busy {
            log.notice("\(row.name): \(error)")
          } catch {
            log.error("\(row.name): not taken over: \(error)")
            watch.withLock { $0.problems[row.name] = error.description }
          }
        }
      }
    }
    do throws(BlockError) {
      for removed in try await removeOrphans() { log.notice("removed \(removed), which no sandbox has") }
    } catch {
      log.error("\(error)")
    }
  }

  private func recover(_ row: SandboxJournal.Row) async throws(BlockError) {
    var row = row
    if let unknown = row.unknownPart {
      return log.warning("\(row.name): left alone, since another release has written it down: \(unknown)")
    }
    if let temporary = row.temporary {
      try services.files.remove(temporary)
      await dropReading(of: row)
      row.temporary = nil
      try journal.save(row)
    }
    switch SandboxState(rawValue: row.state) {
    case .creating:
      // Nobody was told of it.
      try await erase(row)
    case .running: try adopt(&row)
    case .pausing: try await finishPause(&row, within: .zero)
    case .resuming:
      // Nobody was told of its device either; who has found it all the same keeps it.
      do throws(BlockError) {
        try await finishPause(&row, within: .zero)
      } catch  where error.kind == .busy {
        try move(&row, to: .running)
      }
    case .removing: try await finishRemoval(row, within: .zero)
    case .merging: try await finishMergeOrTell(row)
    case .paused, .unknown, nil: break
    }
  }

  /// Removes the copy in a pool that was read when we died: it takes of the room that the sandbox's writers have.
  ///
  /// One that cannot be removed now is when the sandbox is read the next time.
  private func dropReading(of row: SandboxJournal.Row) async {
    await turns.begin(row.storeID)
    defer { turns.end(row.storeID) }
    do throws(BlockError) {
      guard row.driver == SandboxDriver.thin.rawValue, let devices = try availableDevices() else { return }
      try await devices.deleteThin(SandboxDevices.reading(row))
    } catch {
      log.warning("\(row.name): \(error)")
    }
  }

  /// Goes on with a sandbox that runs; one whose device has gone with its host, or by somebody's hand, is paused.
  private func adopt(_ row: inout SandboxJournal.Row) throws(BlockError) {
    guard let devices = try availableDevices() else { return }
    guard let device = try devices.mapper.info(devices.disk(row)), device.hasTable else {
      row.state = SandboxState.paused.rawValue
      try journal.dropReference(of: row)
      return
    }
    // We have died while it held back its requests.
    if device.isSuspended { try devices.mapper.resume(devices.disk(row)) }
  }

  /// Removes the devices that are ours by their UUIDs and that no sandbox has.
  func removeOrphans() async throws(BlockError) -> [String] {
    guard let devices = try availableDevices() else { return [] }
    var wanted: Set<String> = []
    let rows = try journal.rows()
    // What stands for one of another release may be called otherwise, but has its ID.
    let unknown = rows.filter { $0.unknownPart != nil }.flatMap { [$0.id, $0.storeID] }
    // A paused one has none; its pool is there if another one in it runs.
    for row in rows where row.state != SandboxState.paused.rawValue {
      wanted.formUnion([devices.disk(row), devices.origin(row), devices.pool(row)].map(\.description))
    }
    var removed: [String] = []
    // What stands on others first: the kernel lists the latest first.
    for (name, _) in try devices.mapper.list() {
      guard let device = try devices.mapper.info(.name(name)), device.uuid.hasPrefix(devices.uuidPrefix),
        !wanted.contains(device.uuid), !unknown.contains(where: device.uuid.contains),
        !device.isRemovedWhenClosed
      else { continue }
      do throws(BlockError) {
        try await devices.mapper.remove(.uuid(device.uuid), within: .milliseconds(200), clock: services.clock)
        removed.append(name)
      } catch  where error.kind == .busy {
        log.warning("\(error)")
      }
    }
    return removed
  }

  /// Removes what is ours and nobody's: devices without a sandbox, stores that were never finished, digests of bases
  /// that no sandbox has.
  ///
  /// - Returns: What was removed, in words.
  /// - Throws: `busy` while something is done to a sandbox: what that needs for a moment is nobody's, too.
  public func collectGarbage() async throws(BlockError) -> [String] {
    await turns.begin(Self.cleaning)
    defer { turns.end(Self.cleaning) }
    guard activeTurns.load(ordering: .relaxed) == 0 else {
      throw BlockError(
        .busy, step: "clean up", object: "the sandboxes", cause: "something is done to one of them",
        remedy: "Try again when that is done.")
    }
    var removed = try await removeOrphans().map { "device \($0)" }
    let count = try journal.tidy(bootID: bootID)
    if count > 0 { removed.append("\(count) \(count == 1 ? "note" : "notes") about bases") }
    // Looked at before the rows: what is made later has a row already.
    let files = SmallFile.entries(options.directory)
    let rows = try journal.rows()
    for file in files where StoreFile.isTemporary(file) {
      // Of a sandbox that is being made, it is needed.
      let path = "\(options.directory)/\(file)"
      if rows.contains(where: { StoreFile.temporary(for: $0) == path || $0.store == path }) { continue }
      try services.files.remove(path)
      removed.append("file \(path)")
    }
    return removed
  }
}
