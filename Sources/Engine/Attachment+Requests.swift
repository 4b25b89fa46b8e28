import Attachments
import BlockCore
import LinuxIO
import Logging

// What is asked of the data server, and answered by it.
extension Attachment {
  /// The number of the next request.
  func nextRequest() -> UInt64 {
    lastRequest += 1
    return lastRequest
  }

  /// What was asked of the device so far; `nil` if the server does not say it in time.
  func counters() async -> RequestCounters.Snapshot? {
    guard let link, counterRequests.count < Limits.pendingServerRequests else { return nil }
    let number = nextRequest()
    let clock = context.services.clock
    let deadline = context.deadlines.report
    let timer = Task {
      // Cancelled when the answer has come.
      if (try? await clock.sleep(for: deadline)) != nil { counterRequests.giveUp(number, with: nil) }
    }
    defer { timer.cancel() }
    // Known before it is asked: the answer may be faster than we are.
    return await withCheckedContinuation { asker in
      counterRequests.add(number, asker)
      if !ask(link, number) { counterRequests.take(nil, for: number) }
    }
  }

  /// Asks the data server for its counters, whose answer nobody waits for; whether it answers shows later.
  func ask() {
    guard let link else { return }
    _ = ask(link, nextRequest())
  }

  private func ask(_ link: ServerLink, _ number: UInt64) -> Bool {
    do throws(BlockError) {
      try link.send(.report, request: number)
    } catch {
      context.log.debug("\(id): \(error)")
      return false
    }
    if askedAt == nil { askedAt = context.services.clock.now }
    return true
  }

  /// Changes the device while it is in use.
  ///
  /// - Throws: What kept the server from doing it; `timedOut` if it does not answer in time.
  package func change(_ change: DeviceChange) async throws(BlockError) {
    guard let link else { throw serverLost(change.step) }
    func late(_ cause: String) -> BlockError {
      BlockError(.timedOut, step: change.step, object: id.text, cause: cause)
    }
    // A server of version 1 would end the connection.
    guard change != .resetFlushFailure || (serverHello?.version ?? 1) > 1 else {
      throw BlockError(
        .unsupported, step: change.step, object: id.text,
        cause: "its data server is of an earlier release, which does not know of that",
        remedy: "Detach it, and attach it anew: its flushes begin anew with that.")
    }
    guard changeRequests.count < Limits.pendingServerRequests else {
      throw late("its data server has answered none of \(changeRequests.count) changes before")
    }
    let number = nextRequest()
    let clock = context.services.clock
    let deadline = context.deadlines.change
    let timer = Task {
      // Cancelled when the answer has come.
      if (try? await clock.sleep(for: deadline)) != nil {
        if change == .resetFlushFailure { lateResets.insert(number) }
        changeRequests.giveUp(
          number, with: .failure(late("its data server has not answered within \(deadline)")))
      }
    }
    defer { timer.cancel() }
    let answer: Result<Void, BlockError> = await withCheckedContinuation { asker in
      changeRequests.add(number, asker)
      do throws(BlockError) {
        try link.send(.change(change), request: number)
      } catch {
        changeRequests.take(.failure(error), for: number)
      }
    }
    do throws(BlockError) {
      try answer.get()
    } catch  where error.object == id.text {
      // What ended the connection ended all that was asked.
      throw BlockError(
        error.kind, step: change.step, object: error.object, cause: error.cause, remedy: error.remedy,
        errno: error.errno)
    }
  }

  /// Takes what the server says.
  func receive(_ message: ServerMessage, _ request: UInt64?, _ hold: DeviceHold?) {
    askedAt = nil
    switch message {
    case .status(let status): receive(status, hold)
    case .attached(let status): receive(status, hold)
    case .failed(let message): settle(.failure(message.error))
    case .counters(let counters): counterRequests.take(counters, for: request)
    case .released: letGo()
    case .changed(let message):
      changeRequests.take(message.map { .failure($0.error) } ?? .success(()), for: request)
      if let request, lateResets.remove(request) != nil, message == nil { forgetLateReset() }
    case .detached:
      // What remains is the end of the process.
      break
    case .handedOver:
      // Without a number it is from a release that has none.
      if handover != nil, request == nil || request == handoverRequest { handover = .done }
    case .refused(let message): refused(message.error, request)
    }
  }

  private func receive(_ status: ServerStatus, _ hold: DeviceHold?) {
    var status = status
    if let hello = status.hello {
      serverHello = hello
      if hello.version > 1 { sayHello() }
      // What the journal keeps is what is served.
      status.hello = nil
    }
    // Before there is a device, too: it is what can be aborted when the server does not end.
    if let connection = status.connection { row.connection = Int64(connection) }
    let before = self.status
    self.status = status
    noteNews(status, before: before)
    if state == .attached { problem = nil }
    if let hold, status.isServing { self.hold = hold }
    if status.isServing { settle(.success(status)) }
  }

  private func sayHello() {
    do throws(BlockError) {
      try link?.send(.hello(ManagerHello()))
    } catch {
      // That it is gone comes as the link's end.
      context.log.debug("\(id): \(error)")
    }
  }

  /// A message that this release does not understand: nothing is done about it, and the device goes on.
  func receiveUnknown(_ kind: String, _ request: UInt64?, _ reason: String) {
    context.log.warning("\(id): its data server says \"\(kind)\", which is not understood: \(reason)")
    let error = BlockError(
      .unsupported, step: "understand", object: "the data server of \(id)", cause: reason,
      remedy: "It may be of a newer release; install that one: ashlar daemon upgrade.")
    if let request { return refused(error, request) }
    switch kind {
    // An answer whose request it does not name.
    case "counters": counterRequests.take(nil, for: nil)
    case "changed": changeRequests.take(.failure(error), for: nil)
    case "attached", "failed": settle(.failure(error))
    case "status", "": if state == .attached { problem = error.description }
    default: break
    }
  }

  private func refused(_ error: BlockError, _ request: UInt64?) {
    guard let request else { return }
    counterRequests.take(nil, for: request)
    changeRequests.take(.failure(error), for: request)
  }
}

extension DeviceChange {
  /// What is done with it, as errors name it.
  fileprivate var step: String {
    switch self {
    case .size: "resize"
    case .writeCache: "set the write cache of"
    case .configuration: "change the configuration of"
    case .resetFlushFailure: "reset the flush error of"
    }
  }
}
