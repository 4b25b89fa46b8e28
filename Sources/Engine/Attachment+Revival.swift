import Attachments
import BlockCore
import LinuxIO
import Logging

// A device that outlives its data server waits for the next one: nothing fails meanwhile.
extension Attachment {
  /// How long back a death counts, and the longest pause between two tries.
  private static let memory = Duration.seconds(60)
  private static let longestPause = Duration.seconds(10)

  /// Gives the device a new data server, again and again until one serves or nobody wants it any more.
  func reviveInBackground() {
    let clock = context.services.clock
    let log = context.log
    isReviving = true
    Task {
      defer { isReviving = false }
      do {
        while true {
          try await clock.sleep(for: pauseBeforeRevival())
          // One that died before we were done was nobody else's to replace.
          if try await inTurn({ attachment in await attachment.revive() }), !lacksServer { return }
        }
      } catch {
        log.error("\(id): \(error)")
      }
    }
  }

  /// Whether somebody may wait for a data server that is dead.
  var lacksServer: Bool { !isGone && !isServerAlive && objects.hasServer && objects.awaitsAnswers }

  /// None after the first death; one that dies again and again is started more and more seldom.
  private func pauseBeforeRevival() -> Duration {
    let now = context.services.clock.now
    deaths = deaths.filter { now - $0 < Self.memory }
    deaths.append(now)
    guard deaths.count > 3 else { return .zero }
    return min(.milliseconds(50) * (1 << min(deaths.count - 3, 8)), Self.longestPause)
  }

  /// Starts a data server that takes the device over.
  ///
  /// - Returns: Whether there is nothing left to do.
  private func revive() async -> Result<Bool, BlockError> {
    guard !isGone, state != .attaching, !isServerAlive else { return .success(true) }
    if state == .detaching { return await serveUntilGone() }
    guard objects.isPresent else {
      context.log.notice("\(id): its device was taken apart while it had no data server")
      state = .detaching
      finishInBackground()
      return .success(true)
    }
    do throws(BlockError) {
      _ = try await serve(.takeOver)
      try commit()
      state = .attached
      problem = nil
      context.log.notice("\(id): process \(server?.pid ?? 0) has taken the device over")
    } catch {
      await endServer(kindly: true)
      state = .failed
      problem = "no data server could take it over: \(error)"
      context.log.error("\(id): \(problem ?? "")")
    }
    row.state = state.rawValue
    save()
    return .success(state == .attached)
  }

  /// Starts a data server for a device that is being detached: one that takes it over as long as somebody uses it, and
  /// one that fails what the kernel sends at its end.
  ///
  /// - Returns: Whether there is nothing left to do.
  func serveUntilGone() async -> Result<Bool, BlockError> {
    guard lacksServer else { return .success(true) }
    let usage = await usage()
    guard usage.isInUse else {
      await answerRemoval()
      return .success(true)
    }
    context.log.error("\(id): its data server is gone, and the device still \(usage.description)")
    do throws(BlockError) {
      _ = try await serve(.takeOver)
      try commit()
      problem = nil
      context.log.notice("\(id): process \(server?.pid ?? 0) has taken the device over until it goes")
      return .success(true)
    } catch {
      await endServer(kindly: true)
      problem = "no data server could take it over: \(error)"
      context.log.error("\(id): \(problem ?? "")")
      return .success(false)
    }
  }

  /// Removes what stands in the kernel; to be called in turn.
  func dismantle() async throws(BlockError) {
    await answerRemoval()
    try await objects.remove()
  }

  /// Sees to it that what the kernel still sends while the device is taken apart is answered: if the data server is
  /// dead, by one that fails everything; to be called in turn.
  func answerRemoval() async {
    guard objects.awaitsAnswers, objects.hasServer, !isServerAlive else { return }
    do throws(BlockError) {
      try await drain()
    } catch {
      // The kernel gives up waiting by itself, only later.
      context.log.error("\(id): \(error)")
    }
  }

  /// Starts a data server that fails whatever is asked of it, so that nobody has to wait any more.
  func drain() async throws(BlockError) {
    _ = try await serve(.drain)
    try commit()
  }
}

// A backstore that somebody else has made.
extension Attachment {
  /// ``change(_:)`` with its error as a value.
  func changeOrExplain(_ change: DeviceChange) async -> Result<Void, BlockError> {
    do throws(BlockError) {
      return .success(try await self.change(change))
    } catch {
      return .failure(error)
    }
  }

  /// Ends what served a backstore that is no more, although its name is back.
  func forgetServed() async -> Result<Void, BlockError> {
    if isGone { return .success(()) }
    state = .detaching
    await endServer(kindly: false)
    return finish()
  }
}
