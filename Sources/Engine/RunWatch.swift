import Attachments
import BlockCore
import Glibc
import LinuxIO
import Logging

/// Sees when somebody removes what a manager keeps in RUN, and has it made anew.
///
/// A cleaner of temporary files, or an `rm -rf` too many, must not put an instance out of everybody's reach.
public struct RunWatch: Sendable {
  /// How long to wait before what could not be mended is tried again.
  private static let pause = Duration.seconds(1)

  private let manager: Manager
  private let directories: EngineDirectories
  private let log: Logger
  private let onSocketRemoved: @Sendable () -> Void

  /// Makes a watch.
  ///
  /// - Parameters:
  ///   - manager: Whose directories they are.
  ///   - directories: Where they are.
  ///   - log: Where it reports.
  ///   - onSocketRemoved: Called, on a thread of its own, when the socket of the API may be gone.
  public init(
    _ manager: Manager, _ directories: EngineDirectories, log: Logger,
    onSocketRemoved: @escaping @Sendable () -> Void
  ) {
    self.manager = manager
    self.directories = directories
    self.log = log
    self.onSocketRemoved = onSocketRemoved
  }

  /// What is to be looked after.
  private enum Loss: Sendable {
    /// Anything.
    case anything
    /// The link of that name.
    case link(String)
  }

  /// Watches for as long as the process runs.
  ///
  /// - Throws: `exhausted` without a thread.
  public func start() throws(BlockError) {
    let (losses, post) = AsyncStream<Loss>.makeStream()
    Task {
      for await loss in losses { await mend(loss) }
    }
    try WorkerThread.start(name: "run watch") {
      var said: BlockError?
      while true {
        do throws(BlockError) {
          try watch(post)
          said = nil
        } catch {
          // Somebody may be removing all of it just now.
          if said?.cause != error.cause { log.warning("\(error)") }
          said = error
          usleep(UInt32(Self.pause / .microseconds(1)))
        }
        post.yield(.anything)
      }
    }
  }

  /// Watches until what is watched is not there any more.
  private func watch(_ post: AsyncStream<Loss>.Continuation) throws(BlockError) {
    try directories.make()
    let watches = try FileWatches()
    let run = try watches.add(directories.run, .removed)
    let links = try watches.add(directories.links, .removed)
    // What has happened before.
    post.yield(.anything)
    while true {
      try Readiness.wait(for: [(watches.raw, Int16(POLLIN))], atMost: nil)
      for event in try watches.events() {
        switch event {
        case .lost, .ended: return
        case .happened(run, let name):
          // The directory itself was moved away, or one of those in it.
          if name.isEmpty || directories.all.contains("\(directories.run)/\(name)") { return }
          if "\(directories.run)/\(name)" == directories.apiSocket { onSocketRemoved() }
          if "\(directories.run)/\(name)" == directories.lock { post.yield(.anything) }
        case .happened(links, let name):
          if name.isEmpty { return }
          post.yield(.link(name))
        case .happened: break
        }
      }
    }
  }

  private func mend(_ loss: Loss) async {
    switch loss {
    case .link(let name): await manager.mendLinks(of: name)
    case .anything:
      var isMended = false
      while !isMended {
        do throws(BlockError) {
          try await manager.mendDirectories()
          isMended = true
        } catch {
          log.error("\(error)")
          // It ends if it is one of this ROOT, too.
          guard (try? await manager.clock.sleep(for: Self.pause)) != nil else { return }
        }
      }
      await manager.mendLinks()
      onSocketRemoved()
    }
  }
}
