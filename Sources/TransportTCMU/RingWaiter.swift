import BlockCore
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// Waits for a device's events, or to be woken.
///
/// The events are taken edge by edge, so that one system call waits for them and takes note of them.
struct RingWaiter: ~Copyable, Sendable {
  private let poll: Descriptor
  private let bell: Descriptor

  private static let deviceEvent: UInt64 = 0
  private static let bellEvent: UInt64 = 1

  /// Makes a waiter for a device's descriptor, which outlives it.
  ///
  /// - Throws: By errno.
  init(_ device: Int32) throws(BlockError) {
    let poll = try Self.own(epoll_create1(clinux_EPOLL_CLOEXEC), "an epoll instance")
    let bell = try Self.own(eventfd(0, clinux_EVENTFD_FLAGS), "an event descriptor")
    try Self.add(device, to: poll.raw, Self.deviceEvent, clinux_EPOLL_EDGE)
    try Self.add(bell.raw, to: poll.raw, Self.bellEvent, clinux_EPOLL_LEVEL)
    self.poll = poll
    self.bell = bell
  }

  private static func own(_ raw: Int32, _ object: String) throws(BlockError) -> Descriptor {
    guard raw >= 0 else { throw BlockError(errno: Errno(rawValue: errno), step: "make", object: object) }
    return Descriptor(owning: raw)
  }

  private static func add(
    _ descriptor: Int32, to poll: Int32, _ event: UInt64, _ events: UInt32
  ) throws(BlockError) {
    var wish = epoll_event(events: events, data: epoll_data(u64: event))
    guard epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &wish) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "watch", object: "descriptor \(descriptor)")
    }
  }

  /// Waits, on the calling thread, until something may be there.
  ///
  /// - Returns: False if the device is gone.
  /// - Throws: By errno.
  @inline(__always)
  func wait() throws(BlockError) -> Bool {
    var event = epoll_event()
    while true {
      let count = epoll_wait(poll.raw, &event, 1, -1)
      if count > 0 { break }
      if count < 0 && errno != EINTR {
        throw BlockError(errno: Errno(rawValue: errno), step: "wait for", object: "commands")
      }
    }
    return event.data.u64 == Self.bellEvent
      || event.events & clinux_EPOLL_GONE == 0
  }

  /// Ends the wait, now or when it begins; may be called on any thread.
  func wake() {
    // It cannot fail but for a full counter, which wakes as well.
    eventfd_write(bell.raw, 1)
  }
}
