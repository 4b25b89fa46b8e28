import Attachments
import BlockCore
import CLinux
import Glibc
import LinuxIO
import Logging
import SystemPackage

extension Attachment {
  /// Makes the device: after this it is usable, or nothing of it is left.
  ///
  /// - Parameter start: What the data server finds.
  func attach(_ start: ServerOrder.Start) async throws(BlockError) {
    do throws(BlockError) {
      // The row is written before anything exists that it speaks of.
      try context.onStep("begin")
      do throws(BlockError) {
        try context.journal.insert(row)
      } catch {
        // There is no row that would have to be removed.
        isListed = false
        throw error
      }
      try context.onStep("write the row")
      try checkIsWanted()
      try await objects.prepare()
      try context.onStep("prepare")
      try checkIsWanted()
      let status: ServerStatus
      if objects.hasServer {
        status = try await serve(start)
      } else {
        status = ServerStatus(exportName: exportName)
      }
      try checkIsWanted()
      if let device = try await objects.makeDevice(status) {
        row.device = device
        try context.onStep("make the device")
        try context.journal.save(row)
        try context.onStep("write the device")
        // Of what another process serves only the kernel knows the size.
        let byteCount = objects.hasServer ? status.size : try BlockDevice.byteCount(ofNode: device)
        try await DeviceCheck.check(
          device, byteCount: byteCount, within: context.deadlines.readBack, clock: context.services.clock)
        AttachCourse.note("\(device) has \(byteCount) bytes; its first and last block were read back")
        try context.onStep("check the device")
        try publish(device)
        AttachCourse.note("\(context.directories.link(id)) leads to \(device)")
        try context.onStep("make the link")
      }
      try checkIsWanted()
      row.state = AttachmentState.attached.rawValue
      try context.journal.save(row)
      try context.onStep("write that it is attached")
      if objects.hasServer { try commit() }
      try context.onStep("commit")
      state = .attached
    } catch {
      await undo()
      throw error
    }
  }

  /// Starts a data server and waits until it serves.
  func serve(_ start: ServerOrder.Start) async throws(BlockError) -> ServerStatus {
    // Each time: what nobody stood on when it was served last may be the base of a sandbox now.
    if start != .drain, let path = spec.writtenPath { try await checkWriter(of: path) }
    expectServer()
    try startServer(start)
    let status = try await served()
    AttachCourse.note(
      "the data server has opened the image: \(status.format ?? "unknown format"), \(status.layers) layers, "
        + "\(status.size) bytes, \(status.readOnly ? "read-only" : "read-write")")
    try row.note(status)
    try context.onStep("serve")
    // What is there already is not to fail for it.
    try context.journal.save(row, canWait: start != .fresh)
    try context.onStep("write what is served")
    return status
  }

  /// Has it checked that nobody stands on what will be written to; a detach by force gives that up.
  private func checkWriter(of path: String) async throws(BlockError) {
    let (answers, post) = AsyncStream<Result<Void, BlockError>>.makeStream(
      bufferingPolicy: .bufferingOldest(1))
    writerCheck = post
    defer { writerCheck = nil }
    let (check, looks, deadline, name) = (context.checkWriter, context.looks, context.deadlines.look, id.text)
    Task {
      do throws(BlockError) {
        // What is on a dead mount does not answer.
        try await looks.look(at: path, step: "attach", object: name, within: deadline) {
          () throws(BlockError) in try check(path)
        }
        post.yield(.success(()))
      } catch {
        post.yield(.failure(error))
      }
    }
    for await answer in answers { return try answer.get() }
    // No answer is no leave to write.
    throw BlockError(.cancelled, step: "attach", object: id.text, cause: "it was called off")
  }

  /// Lets the data server live on without us; until here it ends when we do.
  func commit() throws(BlockError) {
    guard let link else { throw serverLost("attach") }
    try link.send(.commit)
  }

  private func startServer(_ start: ServerOrder.Start) throws(BlockError) {
    let path = context.directories.serverSocket(exportName)
    // One that has died has left its own; nobody else has that name.
    unlink(path)
    let listener = try MessageSocket.listen(at: path)
    // One that only makes everything fail needs nothing of the image.
    let launch = start == .drain ? context.launches.usual : context.launches.launch(for: spec)
    let pid = try ChildProcess.start(
      .init(
        program: launch.program, arguments: launch.arguments + ["--listener", "3"],
        descriptors: [3: listener.raw]))
    AttachCourse.note("started its data server, process \(pid)")
    server = ProcessIdentity(pid: pid)
    row.serverPid = pid
    row.serverStart = server.map { Int64($0.startTime) }
    do throws(BlockError) {
      // First, so that its end is noticed whatever fails from here on.
      try reap(pid)
    } catch {
      // No thread is to be had that waits for it; it has no order yet, and ends at once.
      server?.kill()
      _ = ChildProcess.waitForEnd(of: pid)
      throw error
    }
    try context.onStep("start the server")
    try context.journal.save(row, canWait: start != .fresh)
    try context.onStep("write the server")
    let link = try ServerLink(path)
    connect(link, isOurChild: true)
    var order = ServerOrder(
      id: id, exportName: exportName, spec: spec, queueCount: Self.queueCount, start: start,
      byteCount: status?.size ?? 0, settings: status?.settings)
    order.pin = try row.decodedPin()
    order.layers = status?.layers
    noteFlushRecord()
    order.flushFailure = try row.decodedFlushFailure()
    try link.send(.attach(order))
    try context.onStep("send the order")
  }

  /// Two queues keep a disk busy on any machine; more than four only wait for each other.
  private static var queueCount: Int {
    min(max(Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))), 1), 4)
  }

  /// Waits until the data server serves the image.
  private func served() async throws(BlockError) -> ServerStatus {
    let timeout = BlockError(
      .timedOut, step: "attach", object: id.text,
      cause: "the image was not open within \(context.deadlines.attach)",
      remedy: "Look at what the disk beneath it does, and into the log.")
    let outcome = await Race.first(within: context.deadlines.attach, clock: context.services.clock) {
      await self.serverReady()
    }
    return try (outcome ?? .failure(timeout)).get()
  }

  /// - Parameter step: What was asked.
  func serverLost(_ step: String) -> BlockError {
    BlockError(
      .unavailable, step: step, object: id.text, cause: "its data server is gone",
      remedy: "Try again, and look into the log if it happens again.")
  }

  /// Points the link to the device, in one step.
  func publish(_ device: String) throws(BlockError) {
    let link = context.directories.link(id)
    if access(context.directories.links, F_OK) != 0 { try context.directories.make() }
    let fresh = "\(link).\(exportName)"
    guard symlink(device, fresh) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "make the link", object: fresh)
    }
    guard rename(fresh, link) == 0 else {
      let error = BlockError(errno: Errno(rawValue: errno), step: "make the link", object: link)
      unlink(fresh)
      throw error
    }
  }

  /// Makes the link to the device anew if somebody has removed it.
  func mendLink() {
    guard state == .attached, let device = row.device,
      SmallFile.link(context.directories.link(id)) != device
    else { return }
    do throws(BlockError) {
      try publish(device)
    } catch {
      context.log.error("\(id): \(error)")
    }
  }

  /// Removes every trace of an attach that failed.
  private func undo() async {
    state = .detaching
    // First: the kernel waits for its answers while it takes a device apart, and one that hangs gives none.
    await endServer(kindly: !isAbandoned)
    do throws(BlockError) {
      if isServerAlive {
        problem = serverStuck
      } else if objects.outlivesServer, try await !dismantledInTime() {
        problem = "the kernel has not let it go within \(context.deadlines.detach)"
      } else {
        await endServer(kindly: true)
        finishQuietly()
        AttachCourse.note("took apart what was made")
        return
      }
      context.log.error("\(id): \(problem ?? "")")
      row.state = state.rawValue
      save()
      finishInBackground(isWanted: false)
    } catch {
      context.log.error("\(id): \(error)")
      await endServer(kindly: true)
      finishQuietly()
      AttachCourse.note("took apart what was made, but for what an error kept: \(error)")
    }
  }

  /// What is to be said of a data server that was killed and is there still.
  var serverStuck: String {
    let pid = server?.pid ?? 0
    return
      "its data server (process \(pid)) was killed and cannot end: it waits in the kernel (/proc/\(pid)/stack)"
  }

  /// Ends the server and lets the device go.
  ///
  /// - Parameter kindly: Whether to give it the time to end by itself.
  func endServer(kindly: Bool) async {
    defer { letGo() }
    link?.close()
    if kindly { await serverEnds(within: context.deadlines.kill) }
    guard let server, isServing || server.isAlive else { return }
    killServer()
    await serverEnds(within: context.deadlines.kill)
    if server.isAlive {
      context.log.error("\(id): data server \(server.pid) does not end; its device is aborted")
      abortDevice()
      // It may have waited for its own device.
      await serverEnds(within: context.deadlines.settle)
    }
  }

  /// Waits for the data server's end, but not longer than that.
  func serverEnds(within deadline: Duration) async {
    let clock = context.services.clock
    let end = clock.now + deadline
    _ = await Race.first(within: deadline, clock: clock) { await self.serverGone() }
    // One that is not our child is only seen to be gone.
    while isServerAlive && clock.now < end {
      guard (try? await clock.sleep(for: .milliseconds(10))) != nil else { return }
    }
  }

  /// Gives an error to whoever waits for a server that hangs.
  func abortDevice() {
    do {
      try objects.abort()
    } catch {
      context.log.error("\(id): \(error)")
    }
  }

  /// As ``finish()``, for when an error is on its way already.
  private func finishQuietly() {
    if case .failure(let error) = finish() { context.log.error("\(id): \(error)") }
  }

  /// Removes link and socket; each is gone already where an earlier attempt came so far.
  func removeNames() {
    let link = context.directories.link(id)
    if row.device == nil || SmallFile.link(link) == row.device { unlink(link) }
    unlink(context.directories.serverSocket(exportName))
  }

  /// Removes what is left when the device is gone: link, socket, row.
  func finish() -> Result<Void, BlockError> {
    guard !isGone else { return .success(()) }
    letGo()
    removeNames()
    unlink(context.directories.flushRecord(exportName).path)
    do {
      try context.onStep("remove link and socket")
      if isListed { try context.journal.remove(id.text) }
      try context.onStep("remove the row")
    } catch {
      return .failure(error)
    }
    isGone = true
    context.onGone(self)
    return .success(())
  }
}
