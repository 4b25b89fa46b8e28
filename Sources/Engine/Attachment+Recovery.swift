import Attachments
import BlockCore
import Glibc
import LinuxIO
import Logging

extension Attachment {
  /// Attaches if that has not happened yet; `nil` if this attachment is no more.
  ///
  /// - Parameters:
  ///   - wanted: What is to be attached.
  ///   - start: What a data server finds.
  func attachOrConfirm(
    _ wanted: AttachmentSpec, _ start: ServerOrder.Start
  ) async -> Result<AttachmentInfo?, BlockError> {
    if isGone { return .success(nil) }
    if let difference = spec.difference(to: wanted) {
      return .failure(
        BlockError(
          .conflict, step: "attach", object: id.text,
          cause: "the ID stands for something else: \(difference)",
          remedy: "Detach it first, or choose another ID."))
    }
    do throws(BlockError) {
      switch state {
      case .attaching: try await attach(start)
      case .attached:
        try await checkFiles("attach", remedy: "Detach it first, or choose another ID.")
        guard try await confirm() else { return .success(nil) }
      case .detaching:
        var cause = problem
        if cause == nil { cause = "it is being detached and still \(await usage().description)" }
        throw BlockError(
          .busy, step: "attach", object: id.text, cause: cause ?? "",
          remedy: "Wait until it is gone; see: ashlar ls.")
      case .unknown: throw notTouched("attach")
      case .failed:
        if objects.outlivesServer { throw problemOfDevice() }
        try await checkFiles("attach", remedy: "Detach it first, or choose another ID.")
        // What is left of it goes first, unless somebody still uses that.
        do throws(BlockError) {
          _ = try await detach(force: false)
        } catch {
          throw BlockError(
            error.kind, step: "attach", object: id.text,
            cause: "its data server has died, and what is left of it cannot be removed: \(error.cause)",
            remedy: error.remedy, errno: error.errno)
        }
        isReplaced = true
        return .success(nil)
      }
    } catch {
      return .failure(error)
    }
    var info = await info(withCounters: false, mounts: Mount.all())
    info.course = AttachCourse.current?.steps
    return .success(info)
  }

  /// Whether the device is usable still; if its server has died meanwhile, what is left is removed.
  ///
  /// - Throws: Why it cannot be used, or not be removed.
  private func confirm() async throws(BlockError) -> Bool {
    do throws(BlockError) {
      guard let device = row.device else {
        if isServerAlive { return true }
        throw problemOfDevice()
      }
      let byteCount = if let status { status.size } else { try BlockDevice.byteCount(ofNode: device) }
      try await DeviceCheck.check(
        device, byteCount: byteCount, within: context.deadlines.readBack, clock: context.services.clock)
      mendLink()
      AttachCourse.note("it is attached already: \(device), whose first and last block were read back")
      return true
    } catch  where isServerAlive || objects.outlivesServer {
      throw error
    } catch {
      context.log.notice("\(id): \(error)")
      isReplaced = try await detach(force: false)
      return !isReplaced
    }
  }

  /// Why a device that is there cannot be used.
  private func problemOfDevice() -> BlockError {
    BlockError(
      .unavailable, step: "attach", object: id.text, cause: problem ?? "its data server is gone",
      remedy: "It is tried again and again to give it a new one; or take it apart: ashlar detach --id \(id).")
  }

  /// ``detach(force:)`` with its error as a value.
  func detachOrExplain(force: Bool) async -> Result<Bool, BlockError> {
    do throws(BlockError) {
      return .success(try await detach(force: force))
    } catch {
      return .failure(error)
    }
  }

  /// Finds out what became of an attachment while there was no manager.
  func recover() async -> Result<Void, BlockError> {
    if state == .unknown {
      context.log.warning("\(id): left alone: \(problem ?? "")")
      return .success(())
    }
    noteFlushRecord()
    let isOfThisBoot = row.bootID == context.bootID
    // A process of that number that started at another time, or at that time after another boot, is somebody else.
    server = isOfThisBoot ? row.server.flatMap { $0.isAlive ? $0 : nil } : nil
    // A manager that was replaced within its process has left us its children.
    if server == nil, isOfThisBoot, let pid = row.serverPid { ChildProcess.collect(pid) }
    // What was never finished nobody was told of, and its server ends by itself.
    if isServerAlive, state != .attaching {
      status = knownStatus
      await takeOver()
      return .success(())
    }
    if await isServedAllTheSame() { return .success(()) }
    if isOfThisBoot, objects.outlivesServer, objects.isPresent { return await recoverBackstore() }
    context.log.notice("\(id): cleaning up what an earlier manager left as \(row.state)")
    state = .detaching
    if server == nil { await endUnknownServer() }
    // It has had its time.
    await endServer(kindly: false)
    if isServerAlive {
      problem = serverStuck
      finishInBackground()
      return .success(())
    }
    guard isOfThisBoot, objects.isPresent else { return finishOrRemember() }
    // Somebody still has the device open; it goes with them.
    if row.state != AttachmentState.detaching.rawValue {
      problem =
        "its data server died while there was no manager; it goes when the last one who uses it is done"
    }
    abortDevice()
    finishInBackground()
    return .success(())
  }

  /// As ``finish()``; but one of which a flush has failed stays, until somebody detaches it or attaches it again.
  private func finishOrRemember() -> Result<Void, BlockError> {
    guard row.flushFailure != nil, row.state != AttachmentState.detaching.rawValue else { return finish() }
    letGo()
    removeNames()
    server = nil
    row.device = nil
    state = .failed
    problem = "its data server died while there was no manager"
    save()
    return .success(())
  }

  /// What the row says of the device; it says nothing if that cannot be read.
  private var knownStatus: ServerStatus? {
    do throws(BlockError) {
      return try row.decodedStatus()
    } catch {
      context.log.error("\(id): what the journal says of its device is not understood: \(error)")
      return nil
    }
  }

  /// Ends a data server that was started, and whose manager has died before it could write down which process it is.
  private func endUnknownServer() async {
    let path = context.directories.serverSocket(exportName)
    _ = await Race.first(within: context.deadlines.kill, clock: context.services.clock) {
      do throws(BlockError) {
        let link = try ServerLink(path)
        try link.send(.detach)
        for await event in link.events {
          if case .end = event { return }
        }
      } catch {
        // Nobody listens there, as nearly always; or it has ended meanwhile.
        return
      }
    }
  }

  /// Takes over a device that has no data server, or was never finished.
  private func recoverBackstore() async -> Result<Void, BlockError> {
    if state != .attaching { status = knownStatus }
    switch state {
    case .attached, .failed:
      state = .attached
      // One of another process's has no data server of ours.
      guard objects.hasServer else { return .success(()) }
      context.log.notice("\(id): its data server died while there was no manager")
      reviveInBackground()
    case .detaching:
      context.log.notice("\(id): taking apart what an earlier manager left as \(row.state)")
      finishInBackground()
      reviveInBackground()
    case .attaching:
      context.log.notice("\(id): taking apart what an earlier manager left as \(row.state)")
      // A server whose attachment was never finished ends by itself, now that its manager is gone.
      await endServer(kindly: true)
      state = .detaching
      finishInBackground(isWanted: false)
    case .unknown: break
    }
    return .success(())
  }

  /// Connects to a data server that lives; one whose socket somebody has removed is told to make it anew.
  private func reach() async throws(BlockError) -> ServerLink {
    let path = context.directories.serverSocket(exportName)
    let clock = context.services.clock
    let end = clock.now + context.deadlines.report
    var isTold = false
    while true {
      do throws(BlockError) {
        return try ServerLink(path)
      } catch  where error.kind == .notFound && clock.now < end {
        if !isTold { server?.send(SIGHUP) }
        isTold = true
        try await clock.pause(for: .milliseconds(10))
      }
    }
  }

  /// Takes over a device whose server lives.
  ///
  /// It may be in use, so whatever is wrong with the way to its server,
  /// nothing is taken apart here.
  private func takeOver() async {
    do throws(BlockError) {
      adopt(try await reach())
      if state != .detaching { state = .attached }
      if state == .detaching {
        try link?.send(.detach, request: nextRequest())
        return finishInBackground()
      }
      context.log.notice("\(id): taken over from an earlier manager")
      let answer = await Race.first(within: context.deadlines.report, clock: context.services.clock) {
        await self.serverReady()
      }
      // It may have come in the last moment.
      if answer == nil, isAnswerAwaited, problem == nil { problem = "its data server has not answered yet" }
      Task { await pinWhatIsOpen() }
    } catch {
      // It lives, and so may its device.
      isServing = true
      problem = "its data server (process \(row.serverPid ?? 0)) cannot be spoken to: \(error)"
      if state == .detaching { finishInBackground() } else { state = .attached }
      reconnectInBackground()
    }
    if let problem { context.log.error("\(id): \(problem)") }
  }
}
