import Attachments
import BlockCore
import FoundationEssentials
import LinuxIO
import Logging

// What is served, and what became of it: held against what the paths lead to now.
extension Attachment {
  /// Throws if a path no longer leads to the file that is served.
  ///
  /// - Parameter step: What is being done.
  /// - Throws: `conflict` with the file and what differs; `timedOut` if a file system does not answer.
  func checkFiles(_ step: String, remedy: String) async throws(BlockError) {
    if row.pin == nil { await pinWhatIsOpen() }
    guard let pin = try row.decodedPin() else { return }
    let image = spec.scheme == "raw" ? spec.path : nil
    let replacement = try await context.looks.look(
      at: spec.path, step: step, object: id.text, within: context.deadlines.look
    ) { () throws(BlockError) in try pin.replacement(of: image) }
    guard let replacement else { return }
    throw BlockError(
      .conflict, step: step, object: id.text,
      cause: "\(replacement.path) is not the file that it serves: \(replacement.difference)", remedy: remedy)
  }

  /// Pins what a data server of an earlier release serves, which does not say that itself: by what it has open.
  func pinWhatIsOpen() async {
    guard row.pin == nil, state == .attached, isListed, let server, server.isAlive, let status,
      status.isServing, status.pin == nil, context.launches.launch(for: spec) == context.launches.usual
    else { return }
    let device = row.device
    let disk = ImagePin.Disk(byteCount: status.size, isReadOnly: status.readOnly)
    do throws(BlockError) {
      let pin = try await context.looks.look(
        at: spec.path, step: "note", object: id.text, within: context.deadlines.look
      ) { () throws(BlockError) in try ImagePin(openIn: server, except: device, disk) }
      // It is tried again when it is to be compared.
      guard let pin, row.pin == nil, self.server == server, !isGone else { return }
      row.pin = String(decoding: try encodeMessage(pin), as: UTF8.self)
      save()
    } catch {
      context.log.error("\(id): what it serves could not be noted: \(error)")
    }
  }

  /// Notes what is to hold for the next data server as well, if it is news.
  func noteNews(_ status: ServerStatus, before: ServerStatus?) {
    guard status.isServing else { return }
    let isLost = status.flushFailure != nil && row.flushFailure == nil
    if isLost, let failure = status.flushFailure {
      context.log.error("\(id): \(failure.error)")
    }
    guard isLost || (state == .attached && (status.settings != before?.settings || status.pin != before?.pin))
    else { return }
    do throws(BlockError) {
      try row.note(status)
      save()
    } catch {
      context.log.error("\(id): \(error)")
    }
  }

  /// Takes note of a flush that failed, of which a data server has told nobody before it died.
  func noteFlushRecord() {
    guard isListed, row.flushFailure == nil else { return }
    do throws(BlockError) {
      guard let failure = try context.directories.flushRecord(exportName).read() else { return }
      row.flushFailure = String(decoding: try encodeMessage(failure), as: UTF8.self)
      context.log.error("\(id): \(failure.error)")
    } catch {
      context.log.error("\(id): \(error)")
      return
    }
    save()
  }

  /// What users are told of a flush that failed; `nil` if none has, or it was reset.
  var flushProblem: String? {
    flushLoss.map {
      "\($0), and flushes fail until somebody who has seen to it says so: ashlar reset \(id) --flush-error"
    }
  }

  /// What a flush that failed means for what was written; `nil` if none has, or it was reset.
  var flushLoss: String? {
    let failure: FlushFailure
    do throws(BlockError) {
      guard let known = try row.decodedFlushFailure() else { return nil }
      failure = known
    } catch {
      return "\(error)"
    }
    let time = Date.ISO8601FormatStyle().format(Date(timeIntervalSince1970: failure.happenedAt))
    return
      "a flush of \(failure.file) failed at \(time) (\(failure.cause)): data that was written may be lost"
  }

  /// Has flushes begin anew; what the one that failed has lost, somebody has seen to.
  func resetFlushFailure() async -> Result<AttachmentInfo, BlockError> {
    do throws(BlockError) {
      // First where it takes effect: what is only forgotten here would come back with the server's next status.
      if isServerAlive {
        guard link != nil else {
          throw BlockError(
            .unavailable, step: "reset", object: id.text,
            cause: "its data server (process \(server?.pid ?? 0)), whose flushes fail, cannot be spoken to",
            remedy:
              "It is tried again and again to reach it; try again when ashlar ls does not say so any more.")
        }
        try await change(.resetFlushFailure)
      }
      try forgetFlushFailure()
    } catch {
      return .failure(error)
    }
    return .success(await info(withCounters: false, mounts: Mount.all()))
  }

  private func forgetFlushFailure() throws(BlockError) {
    try context.directories.flushRecord(exportName).remove()
    var changed = row
    changed.flushFailure = nil
    try context.journal.save(changed)
    row = changed
    status?.flushFailure = nil
  }

  /// The data server has done what was asked of it, although nobody waits for that any more.
  func forgetLateReset() {
    context.log.notice("\(id): its flushes have begun anew, later than was waited for")
    do throws(BlockError) {
      try forgetFlushFailure()
    } catch {
      context.log.error("\(id): \(error)")
    }
  }
}
