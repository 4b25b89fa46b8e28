import Attachments
import BlockCore
import LinuxIO
import Logging

// What is there and the journal does not know, or knows otherwise: nothing is done to it unless somebody asks for it.
extension Attachment {
  /// What helps with something that nothing is done to.
  private static func remedy(isListed: Bool, _ id: String) -> String {
    isListed
      ? "Install the release that has left it; or take it apart: ashlar detach --id \(id) --force."
      : "Take it over: ashlar daemon recover; or take it apart: ashlar detach --id \(id) --force."
  }

  /// Why nothing is done to it, and what helps.
  static func leftAlone(isListed: Bool, _ row: Journal.Row, _ cause: String) -> String {
    let reason =
      isListed ? "its row in the journal is not understood: \(cause)" : "the journal does not know it"
    return "\(reason). \(remedy(isListed: isListed, row.id))"
  }

  /// Refuses to do something to it.
  func notTouched(_ step: String) -> BlockError {
    BlockError(
      .conflict, step: step, object: id.text,
      cause: isListed
        ? "its row in the journal is not understood, and it may be in use"
        : "a device of that ID is there that the journal does not know, and it may be in use",
      remedy: Self.remedy(isListed: isListed, id.text))
  }

  /// Takes note of what was found, and connects to its data server if that answers.
  func find(_ orphan: Orphan) {
    server = orphan.server
    status = orphan.status
    status?.hello = nil
    if let link = orphan.link { adopt(link) }
    context.log.error("\(id): \(problem ?? "")")
  }

  /// Finds the data server of what is to be taken apart although nobody knows what it is.
  func reachUnknownServer() {
    guard link == nil else { return }
    if row.bootID == context.bootID, let known = row.server, known.isAlive { server = known }
    do throws(BlockError) {
      adopt(try ServerLink(context.directories.serverSocket(exportName)))
    } catch {
      // It is gone, or is ended by its process.
      context.log.notice("\(id): \(error)")
    }
  }

  /// The data server of something unknown has ended.
  func serverOfUnknownEnded() {
    guard !isListed else { return }
    if objects.isPresent {
      problem = "its data server is gone, and \(Self.leftAlone(isListed: false, row, ""))"
    } else if case .failure(let error) = finish() {
      context.log.error("\(id): \(error)")
    }
  }

  /// Whether it is unknown what is attached: its row does not say so, or its data server has not yet.
  var lacksSpec: Bool { state == .unknown && !isGone && (isListed ? spec == .unknown : !isImageKnown) }

  /// Whether it is known what a data server would have to open.
  var isImageKnown: Bool { spec.path != AttachmentSpec.unknown.path }

  /// Gives its place to another one that stands for the same.
  func retire() {
    isGone = true
    // A data server has one connection: it would be taken from the other one again and again.
    isServing = false
    let ending = link
    link = nil
    ending?.close()
  }

  /// Writes down what is there and was in no journal, so that it is an attachment as any other.
  ///
  /// - Returns: What it is then; `nil` if there was nothing to be done.
  func recoverUnlisted() async -> Result<AttachmentInfo?, BlockError> {
    guard state == .unknown, !isListed, !isGone else { return .success(nil) }
    // Who answers lives, also where his process cannot be seen.
    let isServed = isServerAlive || link != nil
    if isServed, !isImageKnown, status == nil {
      // Written down without its image, it could never be attached again.
      return .failure(
        BlockError(
          .timedOut, step: "recover", object: id.text,
          cause:
            "its data server\(server.map { " (process \($0.pid))" } ?? "") does not answer what it serves",
          remedy:
            "Let it go on, if it is stopped (kill -CONT), and try again; or: ashlar detach --id \(id) --force."
        ))
    }
    var recovered = row
    recovered.state = (isServed ? AttachmentState.attached : .failed).rawValue
    do throws(BlockError) {
      recovered.serverPid = server?.pid
      recovered.serverStart = server.map { Int64($0.startTime) }
      if let status { try recovered.note(status) }
      try context.journal.insert(recovered)
      row = recovered
      isListed = true
      state = isServed ? .attached : .failed
      problem = isServed ? nil : "its data server was gone when it was found"
      if let device = row.device { try publish(device) }
    } catch {
      return .failure(error)
    }
    context.log.notice("\(id): written down anew")
    // Whoever uses it waits.
    if !isServed, isImageKnown, objects.outlivesServer, lacksServer { reviveInBackground() }
    return .success(await info(withCounters: false, mounts: Mount.all()))
  }

  /// Takes a data server over that serves, although the row says that it is gone or was never finished: what is there
  /// counts, and not what a damaged journal says.
  ///
  /// - Returns: Whether it does.
  func isServedAllTheSame() async -> Bool {
    // One that was never finished ends by itself, now that its manager is gone.
    if isServerAlive { await serverEnds(within: context.deadlines.kill) }
    guard isServerAlive || state != .attaching else { return false }
    let path = context.directories.serverSocket(exportName)
    // Nobody listens there, as nearly always.
    guard let link = try? ServerLink(path) else { return false }
    expectServer()
    adopt(link)
    let answer = await Race.first(within: context.deadlines.report, clock: context.services.clock) {
      await self.serverReady()
    }
    let process = serverHello?.process ?? SocketHolder.find(path) ?? server
    guard isServed(answer, by: process) else {
      self.link = nil
      isServing = false
      link.close()
      return false
    }
    server = process
    if answer == nil { problem = "its data server has not answered yet" }
    if state != .detaching { state = .attached }
    row.state = state.rawValue
    row.bootID = context.bootID
    row.serverPid = server?.pid
    row.serverStart = server.map { Int64($0.startTime) }
    context.log.error("\(id): its data server lives, although the journal says otherwise; it is taken over")
    do throws(BlockError) {
      if let status { try row.note(status) }
      save()
      if state == .detaching {
        try link.send(.detach, request: nextRequest())
        finishInBackground()
      }
    } catch {
      context.log.error("\(id): \(error)")
    }
    return true
  }

  /// Whether what somebody at the row's socket has said, or that he has said nothing yet, means that he serves the device.
  private func isServed(_ answer: Result<ServerStatus, BlockError>?, by process: ProcessIdentity?) -> Bool {
    switch answer {
    case .success(let status): status.exportName == exportName && serverHello?.isCommitted ?? true
    case .failure: false
    // One that is slow is there all the same; of what was never finished nobody was told.
    case nil: process != nil && state != .attaching
    }
  }
}

extension ServerHello {
  /// The process that says so, if it runs.
  var process: ProcessIdentity? {
    guard let pid, let startTime else { return nil }
    let identity = ProcessIdentity(pid: pid, startTime: startTime)
    return identity.isAlive ? identity : nil
  }
}

extension AttachmentSpec {
  /// What stands for an image that nobody knows.
  static let unknown = AttachmentSpec(
    scheme: nil, path: "(unknown)", configuration: nil, transport: .auto, isReadOnly: false)
}
