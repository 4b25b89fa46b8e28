import Attachments
import BlockCore
import LinuxIO
import Logging

// Detaching what does not go by itself with its data server.
extension Attachment {
  /// Removes the device from the kernel and ends its data server.
  ///
  /// - Parameters:
  ///   - force: Whether whoever uses it is not to be waited for here, and whether a data server that does not
  ///     answer is replaced by one that fails everything.
  ///   - isInUse: Whether somebody uses the device.
  /// - Returns: Whether it is gone; if not, it goes when its last user is done.
  func takeApart(force: Bool, isInUse: Bool) async throws(BlockError) -> Bool {
    if isInUse {
      finishInBackground()
      try await serveLastUsers(force: force)
      return false
    }
    if try await !dismantledInTime() {
      guard force, let server, objects.hasServer else {
        finishInBackground()
        throw BlockError(
          .timedOut, step: "detach", object: id.text,
          cause: "the kernel has not let it go within \(context.deadlines.detach)",
          remedy:
            "If its data server waits for a slow disk, it goes by itself when that is done. If it hangs: "
            + "ashlar detach --id \(id) --force; what is not written is lost then.")
      }
      context.log.error(
        "\(id): data server \(server.pid) hangs and is ended; what it has not written is lost")
      await endServer(kindly: false)
      try await drain()
      guard try await dismantledInTime() else {
        finishInBackground()
        return false
      }
    }
    await endServer(kindly: true)
    try finish().get()
    return true
  }

  /// Sees to it that a device that is to go has a data server until its last user is done: if it cannot have one any
  /// more, with force, one that gives them errors instead of letting them wait.
  private func serveLastUsers(force: Bool) async throws(BlockError) {
    if try await serveUntilGone().get() {
      guard force, let server, isServerAlive, await !serverAnswers() else { return }
      problem = "its data server (process \(server.pid)) hung and was ended: whoever uses it gets errors"
      context.log.error("\(id): \(problem ?? "")")
      await endServer(kindly: false)
      return try await drain()
    }
    if force {
      context.log.error("\(id): whoever uses it gets errors from now on")
      try await drain()
    } else if !isReviving {
      reviveInBackground()
    }
  }

  /// Whether what stands in the kernel is gone by the deadline; the removal goes on behind it.
  ///
  /// - Throws: Why it cannot be removed.
  func dismantledInTime() async throws(BlockError) -> Bool {
    let outcome = await Race.first(within: context.deadlines.detach, clock: context.services.clock) {
      () -> Result<Void, BlockError> in
      do throws(BlockError) {
        try await self.dismantle()
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    guard let outcome else { return false }
    try outcome.get()
    return true
  }
}
