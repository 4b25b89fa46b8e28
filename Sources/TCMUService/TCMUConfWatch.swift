import BlockCore
import Glibc
import LinuxIO
import Logging
import Synchronization

/// Reads a `tcmu.conf` now and whenever it changes.
///
/// The directory is watched, for editors put a new file in the old one's place. A directory that is not there
/// is not watched.
public final class TCMUConfWatch: Sendable {
  private let path: String
  private let directory: String
  private let name: String
  private let log: Logger
  private let onChange: @Sendable (TCMUConf) -> Void
  private let stopSignal: WakeSignal
  private let thread = Mutex<WorkerThread?>(nil)

  /// Begins to watch.
  ///
  /// - Parameters:
  ///   - path: The file, which need not be there: then the defaults hold.
  ///   - log: For what is wrong with the file.
  ///   - onChange: Called with the content, before this returns, and then on a thread of the watch's own when
  ///     it has changed. A file that cannot be read changes nothing.
  /// - Throws: By errno if there is no thread or watch to be had.
  public init(
    path: String = TCMUConf.usualPath, log: Logger, onChange: @escaping @Sendable (TCMUConf) -> Void
  ) throws(BlockError) {
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    self.path = path
    directory = String(path[..<slash])
    name = String(path[slash...].drop { $0 == "/" })
    self.log = log
    self.onChange = onChange
    stopSignal = try WakeSignal()
    let watch = try Self.watch(directory)
    read()
    guard let watch else { return }
    try thread.withLock { thread throws(BlockError) in
      thread = try WorkerThread(name: "tcmu-conf") { [self] in run(watch) }
    }
  }

  /// A reference to a watch, which a closure can hold.
  private final class Watch: Sendable {
    let directory: DirectoryWatch

    init(_ path: String) throws(BlockError) { directory = try DirectoryWatch(path) }
  }

  private static func watch(_ directory: String) throws(BlockError) -> Watch? {
    do throws(BlockError) {
      return try Watch(directory)
    } catch  where error.kind == .notFound {
      return nil
    }
  }

  /// Ends the watch; `onChange` is not called any more when this returns.
  public func stop() {
    stopSignal.raise()
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
  }

  private func run(_ watch: Watch) {
    do throws(BlockError) {
      while true {
        let descriptors = [stopSignal.raw, watch.directory.raw].map { (raw: $0, events: Int16(POLLIN)) }
        try Readiness.wait(for: descriptors, atMost: nil)
        if stopSignal.lower() { return }
        let changes = try watch.directory.changes()
        if changes.names.contains(name) || changes.isIncomplete { read() }
        if changes.hasEnded {
          return log.notice("\(directory) is gone; its tcmu.conf is not read again before the next start")
        }
      }
    } catch {
      log.warning("\(error)")
    }
  }

  private func read() {
    do throws(BlockError) {
      let conf = try Self.content(of: path)
      for notice in conf.notices { log.notice("\(path): \(notice)") }
      onChange(conf)
    } catch {
      log.warning("\(error)")
    }
  }

  private static func content(of path: String) throws(BlockError) -> TCMUConf {
    do throws(BlockError) {
      return try TCMUConf(try SmallFile.bytes(path, limit: Limits.tcmuConfBytes), path: path)
    } catch  where error.kind == .notFound {
      return TCMUConf()
    }
  }
}
