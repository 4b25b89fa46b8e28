import BlockCore
import CNetlink
import Glibc
import LinuxIO
import SystemPackage

/// The kernel's events of devices that come and go (uevents): a sign that it is time to look into sysfs, which is what
/// counts.
///
/// A network namespace of another user than init's gets none of them.
///
/// Its owner uses it on one thread.
package struct DeviceEvents: ~Copyable {
  private let socket: OpaquePointer

  /// `NETLINK_KOBJECT_UEVENT` of linux/netlink.h.
  private static let `protocol`: Int32 = 15
  /// The kernel's own group; udevd's is 2.
  private static let kernelGroup: Int32 = 1
  /// Bytes of an event: what the kernel puts together is shorter (`UEVENT_BUFFER_SIZE`, and the device's path).
  private static let eventBytes = 8192

  /// Begins to listen.
  ///
  /// - Throws: By libnl's code.
  init() throws(BlockError) {
    guard let socket = nl_socket_alloc() else {
      throw BlockError(.exhausted, step: "make", object: "a netlink socket", cause: "no memory")
    }
    var code = nl_connect(socket, Self.protocol)
    if code >= 0 { code = nl_socket_add_membership(socket, Self.kernelGroup) }
    guard code >= 0 else {
      nl_socket_free(socket)
      throw BlockError(
        .unavailable, step: "listen to", object: "the kernel's events of devices",
        cause: String(cString: nl_geterror(code)))
    }
    self.socket = socket
    // A smaller buffer overflows sooner, which is an event like any other.
    var size = Int32(Limits.eventBufferBytes)
    setsockopt(raw, SOL_SOCKET, SO_RCVBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
  }

  deinit { nl_socket_free(socket) }

  private var raw: Int32 { nl_socket_get_fd(socket) }

  /// Waits, on the calling thread, until a device was added whose path in sysfs holds a text, or the kernel has lost
  /// events; or until a time has passed.
  ///
  /// - Throws: By errno.
  func waitForAdded(_ part: String, atMost limit: Duration) throws(BlockError) {
    let clock = LinuxClock()
    let end = clock.now + limit
    var buffer = [UInt8](repeating: 0, count: Self.eventBytes)
    while true {
      let count = recv(raw, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count >= 0 {
        if Self.isAdded(part, in: buffer[..<count]) { return }
      } else if errno == EAGAIN {
        let rest = end - clock.now
        guard rest > .zero else { return }
        try Readiness.wait(for: [(raw, Int16(POLLIN))], atMost: rest)
      } else if errno == ENOBUFS {
        return
      } else if errno != EINTR {
        throw BlockError(
          errno: Errno(rawValue: errno), step: "receive", object: "the kernel's events of devices")
      }
    }
  }

  /// Whether an event says that a device was added, with a text in its path: `add@PATH`, and fields behind a NUL.
  package static func isAdded(_ part: String, in event: ArraySlice<UInt8>) -> Bool {
    let header = event.prefix { $0 != 0 }
    return header.starts(with: "add@".utf8) && header.firstRange(of: Array(part.utf8)) != nil
  }
}
