import BlockCore
import CLinux
import Glibc

/// Wakes a thread that waits in `poll`: an eventfd.
public struct WakeSignal: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Makes one that is not raised.
  ///
  /// - Throws: By errno.
  public init() throws(BlockError) {
    let raw = eventfd(0, clinux_EVENTFD_FLAGS)
    guard raw >= 0 else { throw .lastErrno(step: "make", object: "an eventfd") }
    descriptor = Descriptor(owning: raw)
  }

  /// The descriptor, which can be read while the signal is raised.
  public var raw: Int32 { descriptor.raw }

  /// Raises the signal, on any thread.
  ///
  /// One that is raised already stays so.
  public func raise() {
    // It can only fail with EAGAIN, at 2^64 - 1 of them, and then the signal is raised.
    eventfd_write(descriptor.raw, 1)
  }

  /// Lowers it; returns whether it was raised.
  @discardableResult
  public func lower() -> Bool {
    // It can only fail with EAGAIN: it was not raised.
    var count: eventfd_t = 0
    return eventfd_read(descriptor.raw, &count) == 0
  }
}

/// Waiting for descriptors.
public enum Readiness {
  /// Waits, on the calling thread, until one of some descriptors is ready.
  ///
  /// - Parameters:
  ///   - descriptors: Each with its events (`POLLIN` and its like).
  ///   - limit: How long at most; `nil` for as long as it takes.
  /// - Throws: By errno. A signal that comes meanwhile ends the wait without an error.
  public static func wait(
    for descriptors: [(raw: Int32, events: Int16)], atMost limit: Duration?
  ) throws(BlockError) {
    var polled = descriptors.map { pollfd(fd: $0.raw, events: $0.events, revents: 0) }
    var milliseconds: Int32 = -1
    if let limit {
      // Rounded up, or the last millisecond of a wait would be spent in a loop.
      let (seconds, attoseconds) = limit.components
      let exact = Double(seconds) * 1000 + Double(attoseconds) / 1e15
      milliseconds = Int32(min(max(exact.rounded(.up), 0), 3_600_000))
    }
    guard poll(&polled, nfds_t(polled.count), milliseconds) >= 0 || errno == EINTR else {
      throw .lastErrno(step: "wait for", object: "descriptors")
    }
  }
}
