import Attachments
import BlockCore
import LinuxIO
import Logging

extension Attachment {
  /// How far a data server is with handing its device over.
  enum Handover {
    /// It was told to.
    case asked
    /// It has answered everything that it had taken.
    case done
  }

  /// ``handOver()`` with its error as a value, and what the attachment is then.
  func handOverOrExplain() async -> Result<AttachmentInfo, BlockError> {
    do throws(BlockError) {
      try await handOver()
    } catch {
      return .failure(error)
    }
    return .success(await info(withCounters: false, mounts: []))
  }

  /// Gives the device a new data server, while it is in use: the one before finishes what it has taken, and what comes
  /// meanwhile waits in the kernel.
  ///
  /// - Throws: `unsupported` for a device that ends with its data server, `unavailable` for one that has none now; what
  ///   kept the new one from serving, and it is tried again in the background then.
  private func handOver() async throws(BlockError) {
    guard objects.outlivesServer, objects.hasServer else {
      throw BlockError(
        .unsupported, step: "hand over", object: id.text,
        cause: objects.hasServer
          ? "a loop device over FUSE goes with its data server" : "another process serves it",
        remedy: "Detach it and attach it anew when nobody uses it.")
    }
    guard state == .attached, !isReviving, let link, let server, isServerAlive else {
      throw BlockError(
        .unavailable, step: "hand over", object: id.text, cause: problem ?? "it has no data server now",
        remedy: "See: ashlar inspect \(id).")
    }
    // The one that serves has the right files open; the next one would find others, and requests would wait.
    try await checkFiles(
      "hand over", remedy: "Put back what was there; until then the data server that has it open goes on.")
    handover = .asked
    defer { handover = nil }
    let request = nextRequest()
    handoverRequest = request
    try link.send(.handOver, request: request)
    await serverEnds(within: context.deadlines.handOver)
    if isServerAlive {
      context.log.error(
        "\(id): data server \(server.pid) does not finish; it is ended, and its requests come again")
      await endServer(kindly: false)
    }
    // Requests that it had taken and died with are given back to whoever has sent them.
    let start = handover == .done ? ServerOrder.Start.resume : .takeOver
    do throws(BlockError) {
      _ = try await serve(start)
      try commit()
    } catch {
      await endServer(kindly: true)
      state = .failed
      problem = "no data server could take it over: \(error)"
      row.state = state.rawValue
      save()
      reviveInBackground()
      throw error
    }
    let next = self.server?.pid ?? 0
    context.log.notice(
      start == .resume
        ? "\(id): process \(server.pid) has handed the device over to process \(next)"
        : "\(id): process \(next) has taken the device over from process \(server.pid), which did not finish")
  }
}
