import BlockCore
import Glibc
import LinuxIO

extension TCMUEvents {
  /// A process that listens to events about backstores.
  public struct Listener: Sendable, Hashable, CustomStringConvertible {
    /// Its process ID.
    public let pid: Int32
    /// What it is called: `comm`.
    public let command: String

    /// The name of the program's file; `nil` if it cannot be seen.
    public var program: String? {
      ConfigDirectory("/proc/\(pid)").link("exe")?.split(separator: "/").last.map(String.init)
    }

    /// Whether it is a manager of this engine, of another instance.
    public var isOurs: Bool { command == "ashlard" }

    /// Whether it has a device open: then it serves it.
    public func hasOpen(_ device: UIODevice.Entry) -> Bool {
      ConfigDirectory("/proc/\(pid)/fd").links.contains { $0.target == UIODevice.path(device.number) }
    }

    public var description: String { "\(command) (pid \(pid))" }
  }

  /// The other processes that listen: those that the kernel may be waiting for.
  ///
  /// Only those in our network namespace show.
  ///
  /// - Returns: `nil` if the kernel does not tell: it shows the first 32 groups only.
  /// - Throws: `unavailable` without the kernel's module, others by libnl's code.
  public static func otherListeners() throws(BlockError) -> [Listener]? {
    let group = try NetlinkSocket().group()
    guard let table = SmallFile.text("/proc/net/netlink"), let sockets = sockets(in: table, group: group)
    else {
      return nil
    }
    if sockets.isEmpty { return [] }
    return SmallFile.entries("/proc").compactMap(Int32.init).filter { $0 != getpid() }.compactMap { pid in
      let links = ConfigDirectory("/proc/\(pid)/fd").links
      guard links.contains(where: { link in sockets.contains { link.target == "socket:[\($0)]" } }) else {
        return nil
      }
      return Listener(pid: pid, command: SmallFile.text("/proc/\(pid)/comm") ?? "?")
    }
  }

  /// Whether another socket than ours gets the events; true as well if the kernel does not tell.
  ///
  /// Only those in our network namespace show.
  var hasOtherListeners: Bool {
    guard let table = SmallFile.text("/proc/net/netlink"), let sockets = Self.sockets(in: table, group: group)
    else { return true }
    return !sockets.subtracting([inode]).isEmpty
  }

  /// The inode numbers of the generic netlink sockets that are in a group, of `/proc/net/netlink`; `nil` if the table
  /// does not reach to that group.
  package static func sockets(in table: String, group: Int32) -> Set<UInt64>? {
    guard (1...32).contains(group) else { return nil }
    // sk, protocol (16 is generic netlink), port, groups, and more, up to the inode.
    let lines = table.split(separator: "\n").dropFirst().map { $0.split(separator: " ") }
    return Set(
      lines.compactMap { fields in
        guard fields.count >= 10, fields[1] == "16", let groups = UInt32(fields[3], radix: 16),
          groups & (1 << UInt32(group - 1)) != 0
        else { return nil }
        return UInt64(fields[9])
      })
  }
}
