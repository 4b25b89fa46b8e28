import Attachments
import BlockCore
import LinuxIO
import Logging

extension Attachment {
  /// Takes the device apart.
  ///
  /// - Parameter force: Whether to go ahead although somebody uses it: it goes when the last of them is done.
  /// - Returns: Whether it is gone already.
  /// - Throws: `busy`, naming who uses it; without force nothing has changed then.
  func detach(force: Bool) async throws(BlockError) -> Bool {
    if isGone { return true }
    if state == .unknown {
      guard force else { throw notTouched("detach") }
      reachUnknownServer()
    }
    let usage = try await settledUsage()
    if let unseen = usage.unseen, !usage.isSeenInUse, !force, state != .detaching {
      throw BlockError(
        unseen.kind, step: "detach", object: described,
        cause: "who uses it cannot be seen: \(unseen.cause) (\(unseen.object))",
        remedy: "Nothing has changed. \(unseen.remedy ?? "Try again.")", errno: unseen.errno)
    }
    if usage.isInUse && !force && state != .detaching {
      throw BlockError(
        .busy, step: "detach", object: described, cause: "it is \(usage.description)",
        remedy:
          "Unmount it or end what uses it. Or: ashlar detach --id \(id) --force, and it goes when the last one is done."
      )
    }
    if spec.backstore?.role == .served {
      throw BlockError(
        .conflict, step: "detach", object: described, cause: "its backstore is somebody else's",
        remedy:
          "Remove it where it was made: targetcli, or rmdir in configfs. It goes from here by itself then.")
    }
    try context.onStep("look for users")
    if link == nil, !objects.outlivesServer { try await writeOut(force: force) }
    try note(.detaching)
    try context.onStep("write that it goes")
    // Killed before, when its attach was given up: there is nothing more to be done to it.
    if let server, server == killed, isServerAlive {
      finishInBackground()
      try checkServerIsGone()
    }
    if objects.outlivesServer { return try await takeApart(force: force, isInUse: usage.isInUse) }
    if let link {
      // While the server is waited for: one that does not hear us may serve all the same.
      let flush = force ? beginFlush() : nil
      try link.sendUnlessGone(.detach, request: nextRequest())
      try context.onStep("tell the server to let go")
      if usage.isInUse && force {
        finishInBackground()
        try await endServerThatHangs(flush)
        return false
      }
      let isEnded: Bool? = await Race.first(within: context.deadlines.detach, clock: context.services.clock) {
        await self.serverGone()
        return true
      }
      if isEnded == nil { return try await stillThere(force: force, flush) }
    } else {
      letGo()
      if isServerAlive {
        await endServer(kindly: false)
        if isServerAlive { finishInBackground() }
        try checkServerIsGone()
      }
      // They were seen: there is nothing to be waited for.
      if usage.isSeenInUse && force {
        finishInBackground()
        return false
      }
    }
    return try await finishWhenDeviceIsGone(force: force)
  }

  /// Ends a data server that does not answer, so that whoever waits for it gets an error.
  ///
  /// - Parameter flush: What was begun when the detach began; `nil` if there was nothing to write.
  /// - Throws: `timedOut` if it cannot be ended.
  private func endServerThatHangs(_ flush: PageFlush?) async throws(BlockError) {
    guard let server, isServerAlive, await !serverAnswers() else { return }
    context.log.error("\(id): data server \(server.pid) hangs and is ended")
    await noteLoss(flush)
    await endServer(kindly: false)
    try checkServerIsGone()
  }

  /// Whether the data server says anything before the deadline of a detach.
  func serverAnswers() async -> Bool {
    let clock = context.services.clock
    let end = clock.now + context.deadlines.detach
    while link != nil, clock.now < end {
      if await counters() != nil { return true }
      guard (try? await clock.sleep(for: .milliseconds(20))) != nil else { return false }
    }
    return false
  }

  /// - Throws: `timedOut` if the data server was killed and is there still.
  private func checkServerIsGone() throws(BlockError) {
    guard isServerAlive else { return }
    problem = serverStuck
    throw BlockError(
      .timedOut, step: "detach", object: described, cause: serverStuck,
      remedy:
        "It goes by itself when what it waits for answers, or is aborted: a disk, an NFS server, a FUSE daemon."
    )
  }

  /// Goes over to a state when that is in the journal, or owed, and not before.
  private func note(_ next: AttachmentState) throws(BlockError) {
    var changed = row
    changed.state = next.rawValue
    // Also of what was in no journal: whoever comes after us goes on with it.
    try context.journal.save(changed, canWait: true)
    row = changed
    isListed = true
    state = next
  }

  /// Who uses the device, but for those who only look at it: a process between fork and exec, a probe of udev.
  private func settledUsage() async throws(BlockError) -> DeviceUsage {
    let clock = context.services.clock
    let end = clock.now + context.deadlines.settle
    var usage = await usage()
    while usage.isOnlyOpen && clock.now < end {
      do {
        try await clock.sleep(for: .milliseconds(20))
      } catch {
        throw BlockError(.cancelled, step: "detach", object: described, cause: "the task was cancelled")
      }
      usage = await self.usage()
    }
    return usage
  }

  var described: String { row.device.map { "\(id) (\($0))" } ?? id.text }

  /// The server has ended; the device of a server that died may be held by others still.
  private func finishWhenDeviceIsGone(force: Bool) async throws(BlockError) -> Bool {
    let clock = context.services.clock
    let end = clock.now + context.deadlines.detach
    while objects.isPresent {
      guard clock.now < end else { return try await stillThere(force: force) }
      do {
        try await clock.sleep(for: .milliseconds(10))
      } catch {
        throw BlockError(.cancelled, step: "detach", object: described, cause: "the task was cancelled")
      }
    }
    try finish().get()
    return true
  }

  /// The deadline has passed: what remains is done when the last user is done.
  private func stillThere(force: Bool, _ flush: PageFlush? = nil) async throws(BlockError) -> Bool {
    // Its connection has outlived it.
    if let server, !server.isAlive, let link, await !usage().isInUse {
      link.close()
      return try await finishWhenDeviceIsGone(force: force)
    }
    // One that answers does not hang: somebody has the device open whom we do not see.
    if let server, server.isAlive, await !usage().isInUse, await counters() == nil {
      guard force else {
        finishInBackground()
        throw BlockError(
          .timedOut, step: "detach", object: described,
          cause: "its data server (process \(server.pid)) has not answered for \(context.deadlines.detach)",
          remedy: "If it waits for a slow disk, the device goes by itself when that is done. If it hangs: "
            + "ashlar detach --id \(id) --force; what is not written is lost then.")
      }
      await noteLoss(flush)
      await endServer(kindly: false)
      if isServerAlive { finishInBackground() }
      try checkServerIsGone()
      return try await finishWhenDeviceIsGone(force: force)
    }
    finishInBackground()
    if force { return false }
    throw BlockError(
      .busy, step: "detach", object: described,
      cause:
        "after \(context.deadlines.detach) it is \(await usage().description)",
      remedy: "It goes by itself when the last one who has it open is done.")
  }

  /// Waits for the last user without anybody waiting for us.
  ///
  /// - Parameter isWanted: Whether its users were promised that it stays until they are done; what was never finished
  ///   fails for whoever looks at it.
  func finishInBackground(isWanted: Bool = true) {
    // One who waits is enough, however often it is asked for.
    guard !isFinishing else { return }
    isFinishing = true
    let log = context.log
    Task {
      defer { isFinishing = false }
      do {
        if objects.outlivesServer {
          if !isWanted { try await inTurn { attachment in .success(await attachment.answerRemoval()) } }
          // The disk would be torn away from whoever uses it.
          try await waitWhile { await $0.usage().isInUse }
          try await inTurn { attachment in .success(await attachment.answerRemoval()) }
          try await objects.remove()
        }
        await serverGone()
        // One that was killed and waits in the kernel; or is not our child, whose end nobody tells us.
        try await waitWhile { $0.isServerAlive || $0.objects.isPresent }
        try await inTurn { attachment in attachment.finish() }
      } catch {
        log.error("\(id): \(error)")
      }
    }
  }

  /// Looks, more and more seldom, until something is so no more: the kernel tells nobody when the last one closes a disk.
  private func waitWhile(_ isSo: (isolated Attachment) async -> Bool) async throws {
    var pause = Duration.milliseconds(50)
    while await isSo(self) {
      try await context.services.clock.sleep(for: pause)
      pause = min(pause * 2, .seconds(1))
    }
  }
}
