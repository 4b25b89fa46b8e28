import Attachments
import BlockCore
import CLinux
import Glibc
import LinuxIO
import Synchronization
import SystemPackage

/// The socket at which a data server waits for managers.
///
/// Somebody may remove it: a cleaner of temporary files, for one. A manager that does not find it sends SIGHUP, and it is
/// made anew.
final class ControlSocket: Sendable {
  /// The eventfd that SIGHUP raises; -1 until there is one.
  private static let bell = Atomic<Int32>(-1)

  private let listener: Mutex<Descriptor>
  /// Where it stands, or stood.
  let path: String
  private let wake: WakeSignal

  /// Takes over a listening socket, and SIGHUP.
  ///
  /// - Throws: By errno.
  init(owning listener: consuming Descriptor) throws(BlockError) {
    path = try MessageSocket.path(of: listener)
    self.listener = Mutex(listener)
    wake = try WakeSignal()
    Self.bell.store(wake.raw, ordering: .relaxed)
    // Nothing but what may be done in a signal's handler (signal-safety(7)).
    signal(SIGHUP) { _ in eventfd_write(ControlSocket.bell.load(ordering: .relaxed), 1) }
  }

  /// Waits, on the calling thread, for a manager.
  ///
  /// - Parameter onReport: Called with what a log should hold.
  /// - Throws: By errno.
  func accept(_ onReport: (String) -> Void) throws(BlockError) -> MessageSocket {
    while true {
      let raw = listener.withLock { $0.raw }
      try Readiness.wait(for: [(raw, Int16(POLLIN)), (wake.raw, Int16(POLLIN))], atMost: nil)
      if wake.lower() { standAgain(onReport) }
      if let socket = try listener.withLock({ listener throws(BlockError) in
        try MessageSocket.acceptIfWaiting(at: listener)
      }) {
        return socket
      }
    }
  }

  private func standAgain(_ onReport: (String) -> Void) {
    guard access(path, F_OK) != 0 else { return }
    do throws(BlockError) {
      try EngineDirectories.make(String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
      let fresh = try MessageSocket.listen(at: path).release()
      listener.withLock { $0 = Descriptor(owning: fresh) }
      onReport("\(path) was removed, and is made anew")
    } catch {
      onReport("\(path) was removed: \(error)")
    }
  }
}
