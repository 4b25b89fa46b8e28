import Attachments
import BlockCore
import Glibc
import LinuxIO
import Logging
import SystemPackage

// What is in a device's page cache: the kernel writes it through the data server, and drops it if that is ended.
extension Attachment {
  /// The writing of a device's page cache, and what came of it.
  typealias PageFlush = Task<Result<Void, BlockError>, Never>

  /// Begins to write what is in the page cache, or gives what is under way.
  ///
  /// It has the device open, and a thread, until the data server has answered or is gone.
  ///
  /// - Returns: `nil` if there is nothing that could be written, or nobody who could write it.
  func beginFlush() -> PageFlush? {
    if let pageFlush { return pageFlush }
    guard let device = row.device, isServerAlive, server != killed, objects.owns(device),
      BlockDevice.attribute("ro", of: String(device.dropFirst("/dev/".count))) != "1"
    else { return nil }
    let objects = objects
    let flush = PageFlush {
      defer { pageFlush = nil }
      do throws(BlockError) {
        try await Blocking.run("write out") { () throws(BlockError) in
          let descriptor = try Descriptor.open(device, O_RDONLY)
          // Its number may have gone to another disk before it was open.
          guard objects.owns(device) else { return }
          guard fsync(descriptor.raw) == 0 else {
            throw BlockError(errno: Errno(rawValue: errno), step: "flush", object: device)
          }
        }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    pageFlush = flush
    return flush
  }

  /// Writes what is in the page cache before a data server is ended that cannot be told to end.
  ///
  /// - Parameter force: Whether what cannot be written may be lost.
  /// - Throws: Without force: `timedOut` if that takes too long, or what the kernel says.
  func writeOut(force: Bool) async throws(BlockError) {
    let wasUnderWay = pageFlush != nil
    guard let flush = beginFlush() else { return }
    // What somebody has waited for before has had its time.
    let deadline = force && wasUnderWay ? context.deadlines.settle : context.deadlines.flush
    do throws(BlockError) {
      try await ended(flush, within: deadline)
    } catch {
      guard !force else { return noteLoss(error) }
      throw BlockError(
        error.kind, step: "detach", object: described,
        cause:
          "its data server (process \(server?.pid ?? 0)) cannot be spoken to, and what was written to the "
          + "device could not be flushed: \(error.cause)",
        remedy: "Look at what its image stands on, and try again. To give up what is not written: "
          + "ashlar detach --id \(id) --force.")
    }
  }

  /// Says that what is written may be lost, if it is not certain that it is not.
  func noteLoss(_ flush: PageFlush?) async {
    guard let flush else { return }
    do throws(BlockError) {
      try await ended(flush, within: context.deadlines.settle)
    } catch {
      noteLoss(error)
    }
  }

  private func noteLoss(_ error: BlockError) {
    context.log.error("\(id): what was written to it and not flushed may be lost: \(error)")
  }

  private func ended(_ flush: PageFlush, within deadline: Duration) async throws(BlockError) {
    let outcome = await Race.first(within: deadline, clock: context.services.clock) { await flush.value }
    guard let outcome else {
      throw BlockError(
        .timedOut, step: "flush", object: row.device ?? id.text, cause: "that did not end within \(deadline)")
    }
    try outcome.get()
  }
}
