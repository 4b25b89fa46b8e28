import Attachments
import BlockCore
import Logging
import TransportTCMU

// Backstores that were there before us, or that another process serves.
extension BackstoreService {
  /// Takes over what other processes have let go, for as long as that comes.
  func awaitReleases() async {
    for await entry in releases.stream where UIODevice.find(entry.backstore) == entry {
      await takeOver(entry)
      Task { await lookAgain(entry) }
    }
  }

  /// The kernel tells of a close before it lets the device go, and of that it does not tell.
  private func lookAgain(_ entry: UIODevice.Entry) async {
    do {
      try await Task.sleep(for: .milliseconds(500))
    } catch {
      // The manager ends.
      return
    }
    if UIODevice.find(entry.backstore) == entry { await takeOver(entry) }
  }

  /// Serves what exists already and nobody serves: what another daemon has left, or was made while none ran.
  func takeOver(_ entry: UIODevice.Entry) async {
    guard isOurs(entry.configuration), await !isServedByItsMaker(entry.backstore),
      await manager.attachment(of: entry.backstore) == nil, UIODevice.find(entry.backstore) == entry
    else { return }
    do throws(BlockError) {
      do throws(BlockError) {
        // Asked first: a data server opens the image, or makes it, before it finds the device taken.
        if try UIODevice.isServed(entry) { return try awaitRelease(of: entry) }
        try await serve(entry.backstore, entry.configuration, .takeOver)
        log.notice("\(entry.backstore): taken over (\(entry.configuration))")
      } catch  where error.kind == .busy {
        try awaitRelease(of: entry, after: error)
      }
    } catch {
      log.error("\(entry.backstore): not taken over: \(error)")
    }
  }

  /// The same for a device that was found busy; it may be its image that is.
  ///
  /// - Throws: The error, if nobody serves the device; others by errno.
  func awaitRelease(of entry: UIODevice.Entry, after error: BlockError) throws(BlockError) {
    guard try UIODevice.isServed(entry) else { throw error }
    try awaitRelease(of: entry)
  }

  /// Sees to it that a device is taken over when the process that serves it lets go.
  ///
  /// - Throws: By errno.
  func awaitRelease(of entry: UIODevice.Entry) throws(BlockError) {
    log.notice("\(entry.backstore): another process serves it; it is taken over when that one lets it go")
    try releases.watch(entry)
    // It may have done so before we watched.
    if try !UIODevice.isServed(entry) { releases.tell(entry) }
  }
}
