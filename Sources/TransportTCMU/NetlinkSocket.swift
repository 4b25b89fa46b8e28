import BlockCore
import CLinux
import CNetlink
import Glibc
import LinuxIO
import SystemPackage

/// The owner of a generic netlink socket that speaks to the family of TCM-USER.
///
/// Its owner uses it on one thread, or behind a lock.
struct NetlinkSocket: ~Copyable, Sendable {
  private nonisolated(unsafe) let socket: OpaquePointer
  /// The family's number.
  let family: Int32

  static let familyName = "TCM-USER"
  static let groupName = "config"
  /// The version of the family's messages.
  private static let version: UInt8 = 2

  /// Connects, and finds the family.
  ///
  /// - Throws: `unavailable` without the kernel's module, others by libnl's code.
  init() throws(BlockError) {
    guard let socket = nl_socket_alloc() else {
      throw BlockError(.exhausted, step: "make", object: "a netlink socket", cause: "no memory")
    }
    var code = genl_connect(socket)
    let family = code < 0 ? code : genl_ctrl_resolve(socket, Self.familyName)
    if family < 0 {
      nl_socket_free(socket)
      code = family
      throw Self.failure(
        code, "find", "the netlink family \(Self.familyName)",
        kind: code == -NLE_OBJ_NOTFOUND ? .unavailable : nil,
        remedy: "Load the kernel module: modprobe target_core_user.")
    }
    self.socket = socket
    self.family = family
  }

  deinit { nl_socket_free(socket) }

  /// The descriptor, for waiting.
  var raw: Int32 { nl_socket_get_fd(socket) }

  /// The inode number, by which `/proc` shows it.
  ///
  /// - Throws: By errno.
  var inode: UInt64 {
    get throws(BlockError) {
      var status = stat()
      guard fstat(raw, &status) == 0 else {
        throw BlockError(errno: Errno(rawValue: errno), step: "stat", object: "the netlink socket")
      }
      return UInt64(status.st_ino)
    }
  }

  /// The number of the group that events go to.
  func group() throws(BlockError) -> Int32 {
    let group = genl_ctrl_resolve_grp(socket, Self.familyName, Self.groupName)
    guard group >= 0 else {
      throw Self.failure(group, "find", "the netlink group \(Self.groupName)")
    }
    return group
  }

  /// Makes it one that events come to, however many come at once.
  ///
  /// - Throws: By errno.
  func listen(to group: Int32) throws(BlockError) {
    // An event is no answer to what we sent.
    nl_socket_disable_seq_check(socket)
    var size = Int32(Limits.eventBufferBytes)
    var one: Int32 = 1
    let length = socklen_t(MemoryLayout<Int32>.size)
    guard setsockopt(raw, SOL_SOCKET, SO_RCVBUFFORCE, &size, length) == 0,
      setsockopt(raw, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, length) == 0
    else {
      throw BlockError(errno: Errno(rawValue: errno), step: "set up", object: "the netlink socket")
    }
    let code = nl_socket_add_membership(socket, group)
    guard code >= 0 else { throw Self.failure(code, "join", "the netlink group \(Self.groupName)") }
  }

  /// Receives what has come, and hands on the events in it.
  ///
  /// - Throws: By libnl's code.
  func receive(_ body: (TCMUEvent) -> Void) throws(BlockError) {
    var address = sockaddr_nl()
    var buffer: UnsafeMutablePointer<UInt8>?
    let count = nl_recv(socket, &address, &buffer, nil)
    defer { free(buffer) }
    guard count >= 0 else {
      if count == -NLE_INTR || count == -NLE_AGAIN { return }
      throw Self.failure(count, "receive from", "the netlink socket")
    }
    // Only the kernel, whose port is 0, speaks for it.
    guard let buffer, address.nl_pid == 0 else { return }
    var rest = count
    buffer.withMemoryRebound(to: nlmsghdr.self, capacity: 1) { first in
      var header: UnsafeMutablePointer<nlmsghdr>? = first
      while let message = header, nlmsg_ok(message, rest) != 0 {
        if message.pointee.nlmsg_type == family,
          let event = TCMUEvent(message)
        {
          body(event)
        }
        header = nlmsg_next(message, &rest)
      }
    }
  }

  /// Sends a message and waits until the kernel has taken it.
  ///
  /// - Parameters:
  ///   - command: What it says.
  ///   - fill: Adds its attributes; below zero if one does not fit.
  /// - Throws: By libnl's code.
  func send(_ command: TCMUEvent.Command, _ fill: (OpaquePointer) -> Int32) throws(BlockError) {
    guard let message = nlmsg_alloc() else {
      throw BlockError(.exhausted, step: "make", object: "a netlink message", cause: "no memory")
    }
    guard
      genlmsg_put(
        message, UInt32(NL_AUTO_PORT), UInt32(NL_AUTO_SEQ), family, 0, 0, command.rawValue, Self.version)
        != nil,
      fill(message) >= 0
    else {
      nlmsg_free(message)
      throw BlockError(.exhausted, step: "make", object: "a netlink message", cause: "it has no room")
    }
    // It frees the message in any case.
    let code = nl_send_sync(socket, message)
    guard code >= 0 else { throw Self.failure(code, "answer", "the kernel about a TCM-USER device") }
  }

  private static func failure(
    _ code: Int32, _ step: String, _ object: String, kind: BlockError.Kind? = nil, remedy: String? = nil
  ) -> BlockError {
    let usual: BlockError.Kind =
      switch -code {
      case NLE_PERM, NLE_NOACCESS: .permissionDenied
      case NLE_OBJ_NOTFOUND, NLE_NODEV: .notFound
      case NLE_OPNOTSUPP: .unsupported
      case NLE_INVAL: .invalidArgument
      case NLE_BUSY: .busy
      case NLE_NOMEM: .exhausted
      default: .ioError
      }
    return BlockError(
      kind ?? usual, step: step, object: object, cause: String(cString: nl_geterror(code)), remedy: remedy)
  }
}
