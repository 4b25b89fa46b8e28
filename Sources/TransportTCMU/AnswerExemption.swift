import BlockCore
import Glibc
import LinuxIO

/// Sees to it that backstores of certain subtypes can be enabled beside another daemon.
///
/// The kernel takes the first answer to an event, and tcmu-runner refuses at once every subtype that it does not know.
/// So while others listen, a backstore of ours is exempted from answers (`nl_reply_supported` = -1) as soon as its
/// maker has written its `dev_config`, which a thread of its own sees in configfs. The kernel looks at that number in
/// the course of `enable`, when it has cleared the ring's 8 MiB and made the device: that is the time we have. If it was
/// too short, ``TCMUEvents`` answers the event before it is known whether the image can be opened, which is mostly before
/// the other one does. Nobody is held up, and backstores of other subtypes are only looked at.
public final class AnswerExemption: Sendable {
  /// What is watched.
  private enum Place {
    /// The directory of all adapters.
    case core
    /// An adapter's directory.
    case adapter(UInt32)
    /// The directory of a backstore whose configuration is not ours, or not there yet.
    case backstore(Backstore)
  }

  private let subtypes: Set<String>
  private let events: TCMUEvents
  private let onReport: @Sendable (String) -> Void
  private let onExempted: @Sendable (Backstore) -> Void
  private let watches: FileWatches

  private static let core = ConfigDirectory("\(TargetConfiguration.root)/core")

  /// Begins to watch; it ends with the process.
  ///
  /// What is made from now on is seen.
  ///
  /// - Parameters:
  ///   - subtypes: Those that are exempted.
  ///   - events: They tell who else listens.
  ///   - onReport: Called, on any thread, with what went wrong.
  ///   - onExempted: Called, on any thread, with what was exempted.
  /// - Throws: By errno.
  public static func start(
    _ subtypes: Set<String>, _ events: TCMUEvents, onReport: @escaping @Sendable (String) -> Void,
    onExempted: @escaping @Sendable (Backstore) -> Void
  ) throws(BlockError) {
    let exemption = try AnswerExemption(subtypes, events, onReport, onExempted)
    let core = try exemption.watches.add(Self.core.path, .created)
    try WorkerThread.start(name: "tcmu-exemption") { exemption.run(core) }
  }

  private init(
    _ subtypes: Set<String>, _ events: TCMUEvents, _ onReport: @escaping @Sendable (String) -> Void,
    _ onExempted: @escaping @Sendable (Backstore) -> Void
  ) throws(BlockError) {
    self.onExempted = onExempted
    self.subtypes = subtypes
    self.events = events
    self.onReport = onReport
    watches = try FileWatches()
  }

  private func run(_ core: FileWatches.ID) {
    var places = [core: Place.core]
    do throws(BlockError) {
      try ThreadPriority.raise()
    } catch {
      onReport("makers of backstores may be faster than we are: \(error)")
    }
    do throws(BlockError) {
      // Known before it is needed, for there is little time then.
      var hasOthers = events.hasOtherListeners
      lookAtAdapters(&places, &hasOthers)
      while true {
        try Readiness.wait(for: [(watches.raw, Int16(POLLIN))], atMost: nil)
        for event in try watches.events() { handle(event, &places, &hasOthers) }
        hasOthers = events.hasOtherListeners
      }
    } catch {
      onReport("backstores that others make are not seen in time any more: \(error)")
    }
  }

  private func handle(
    _ event: FileWatches.Event, _ places: inout [FileWatches.ID: Place], _ hasOthers: inout Bool
  ) {
    switch event {
    case .lost: lookAtAdapters(&places, &hasOthers)
    case .ended(let watch): places[watch] = nil
    case .happened(let watch, let name):
      switch places[watch] {
      case .core: lookAtAdapter(name, &places, &hasOthers)
      case .adapter(let hba): lookAt(Backstore(hba: hba, name: name), &places, &hasOthers)
      case .backstore(let backstore):
        if name == "control" { settle(backstore, watch, &places, &hasOthers) }
      case nil: break
      }
    }
  }

  private func lookAtAdapters(_ places: inout [FileWatches.ID: Place], _ hasOthers: inout Bool) {
    for name in Self.core.directories { lookAtAdapter(name, &places, &hasOthers) }
  }

  private func lookAtAdapter(
    _ name: String, _ places: inout [FileWatches.ID: Place], _ hasOthers: inout Bool
  ) {
    let directory = ConfigDirectory(Self.core(name))
    guard let hba = Backstore.adapterNumber(name),
      watch(directory.path, .created, .adapter(hba), &places) != nil
    else { return }
    // What was made in it before the watch.
    for name in directory.directories { lookAt(Backstore(hba: hba, name: name), &places, &hasOthers) }
  }

  private func lookAt(
    _ backstore: Backstore, _ places: inout [FileWatches.ID: Place], _ hasOthers: inout Bool
  ) {
    // Watched first: what is written before that is read then.
    guard let watch = watch(backstore.path, .modified, .backstore(backstore), &places) else { return }
    settle(backstore, watch, &places, &hasOthers)
  }

  /// Watches a place; `nil` if it is gone already, or cannot be watched.
  private func watch(
    _ path: String, _ events: FileWatches.Events, _ place: Place,
    _ places: inout [FileWatches.ID: Place]
  ) -> FileWatches.ID? {
    do throws(BlockError) {
      let watch = try watches.add(path, events)
      places[watch] = place
      return watch
    } catch {
      if error.kind != .notFound { onReport("\(error)") }
      return nil
    }
  }

  /// Looks at a backstore that is watched, and watches it no more if there is nothing to wait for.
  private func settle(
    _ backstore: Backstore, _ watch: FileWatches.ID, _ places: inout [FileWatches.ID: Place],
    _ hasOthers: inout Bool
  ) {
    guard isSettled(backstore, &hasOthers) else { return }
    watches.remove(watch)
    places[watch] = nil
  }

  /// Exempts a backstore if its configuration is ours, it is not enabled yet and others listen.
  ///
  /// - Returns: Whether there is nothing more to wait for.
  private func isSettled(_ backstore: Backstore, _ hasOthers: inout Bool) -> Bool {
    guard let configuration = backstore.attribute("dev_config"),
      subtypes.contains(BackstoreConfiguration(configuration).subtype)
    else { return false }
    // Whether somebody has come is asked again; whether he has gone is not that important.
    if !hasOthers { hasOthers = events.hasOtherListeners }
    guard hasOthers, !backstore.isEnabled else { return true }
    do throws(BlockError) {
      try backstore.exempt()
      onExempted(backstore)
    } catch {
      if error.kind != .notFound { onReport("\(backstore): others may refuse it: \(error)") }
    }
    return true
  }
}
