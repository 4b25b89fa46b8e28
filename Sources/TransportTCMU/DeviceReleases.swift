import BlockCore
import Glibc
import LinuxIO
import Synchronization

/// Tells when the process that serves a device has closed its `/dev/uioN`, or has died.
///
/// In a container with nodes of its own in `/dev` it does not show what others of the host do.
public final class DeviceReleases: Sendable {
  /// The devices that were let go, or are gone; for one consumer.
  public let stream: AsyncStream<UIODevice.Entry>
  private let post: AsyncStream<UIODevice.Entry>.Continuation
  private let watches: FileWatches
  private let watched = Mutex<[FileWatches.ID: UIODevice.Entry]>([:])

  /// Begins to listen, on a thread of its own; it ends with the process.
  ///
  /// - Parameter onReport: Called, on any thread, with what a log should hold.
  /// - Throws: By errno.
  public static func start(
    onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) -> DeviceReleases {
    let releases = try DeviceReleases()
    try WorkerThread.start(name: "tcmu-releases") { releases.run(onReport) }
    return releases
  }

  private init() throws(BlockError) {
    watches = try FileWatches()
    (stream, post) = AsyncStream.makeStream()
  }

  /// Waits for one device's release, of which the stream tells once.
  ///
  /// May be called on any thread. Whoever had it before may have let it go already: ask after this.
  ///
  /// - Throws: By errno: `notFound` if its node is not there.
  public func watch(_ entry: UIODevice.Entry) throws(BlockError) {
    try watched.withLock { watched throws(BlockError) in
      watched[try watches.add(UIODevice.path(entry.number), .closed)] = entry
    }
  }

  /// Tells of a device as if it had been let go.
  public func tell(_ entry: UIODevice.Entry) { post.yield(entry) }

  private func run(_ onReport: @Sendable (String) -> Void) {
    do throws(BlockError) {
      while true {
        try Readiness.wait(for: [(watches.raw, Int16(POLLIN))], atMost: nil)
        for event in try watches.events() { handle(event) }
      }
    } catch {
      onReport("it is not noticed any more when others let their devices go: \(error)")
    }
    post.finish()
  }

  private func handle(_ event: FileWatches.Event) {
    switch event {
    case .happened(let watch, _):
      guard let entry = watched.withLock({ $0.removeValue(forKey: watch) }) else { return }
      watches.remove(watch)
      post.yield(entry)
    case .ended(let watch):
      if let entry = watched.withLock({ $0.removeValue(forKey: watch) }) { post.yield(entry) }
    case .lost:
      for entry in watched.withLock({ Array($0.values) }) { post.yield(entry) }
    }
  }
}
