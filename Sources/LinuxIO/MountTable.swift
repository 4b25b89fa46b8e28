import BlockCore
import CLinux
import Glibc

/// A mount as the calling process's mount namespace shows it.
public struct Mount: Sendable, Hashable {
  /// The device that is mounted, or the anonymous number of a file system that has none or several: btrfs, overlayfs.
  public let device: DeviceNumbers
  /// Where it is mounted.
  public let mountPoint: String
  /// Whether that is the path byte for byte: one that is not UTF-8 can only be shown.
  public let isPathExact: Bool
  /// The file system's type.
  public let type: String
  /// The options of the mount, as one text.
  public let options: String
  /// What was mounted, in the file system's words: mostly a device's path, as whoever mounted it has it.
  public let source: String

  /// All mounts (`/proc/self/mountinfo`, proc_pid_mountinfo(5)), in order.
  public static func all() -> [Mount] {
    mounts(in: "/proc/self/mountinfo") ?? []
  }

  /// The mounts that a file of that kind tells of; `nil` if it cannot be read.
  private static func mounts(in path: String) -> [Mount]? {
    // That it is not there means that nothing is known, as for a process that has ended.
    guard let bytes = SmallFile.bytesIfThere(path, limit: 64 << 20) else { return nil }
    return bytes.split(separator: UInt8(ascii: "\n")).compactMap { Mount(line: $0) }
  }

  /// The mounts in other mount namespaces than ours, each with a process that lives there; as far as `/proc`
  /// shows those.
  public static func inOtherNamespaces() -> [(mount: Mount, process: BlockDevice.Opener)] {
    func namespace(of pid: String) -> UInt64? {
      var status = stat()
      return stat("/proc/\(pid)/ns/mnt", &status) == 0 ? UInt64(status.st_ino) : nil
    }
    var seen: Set<UInt64> = namespace(of: "self").map { [$0] } ?? []
    var mounts: [(Mount, BlockDevice.Opener)] = []
    for pid in SmallFile.entries("/proc").compactMap(Int32.init) {
      guard let identity = namespace(of: "\(pid)"), seen.insert(identity).inserted,
        let found = Self.mounts(in: "/proc/\(pid)/mountinfo")
      else { continue }
      let process = BlockDevice.Opener(pid: pid, command: SmallFile.text("/proc/\(pid)/comm") ?? "?")
      mounts += found.map { ($0, process) }
    }
    return mounts
  }

  private init?(line: ArraySlice<UInt8>) {
    isPathExact = String(validating: line, as: UTF8.self) != nil
    let fields = String(decoding: line, as: UTF8.self).split(separator: " ")
    guard fields.count >= 10, let device = DeviceNumbers(fields[2]),
      let separator = fields.firstIndex(of: "-"), separator + 1 < fields.count
    else { return nil }
    self.device = device
    mountPoint = Self.unescape(fields[4])
    options = String(fields[5])
    type = String(fields[separator + 1])
    source = fields.count > separator + 2 ? Self.unescape(fields[separator + 2]) : ""
  }

  /// Undoes the escapes of mountinfo: `\040` for a space, and the like.
  private static func unescape(_ field: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.first {
      let digits = rest.dropFirst().prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(4)
      } else {
        bytes.append(byte)
        rest = rest.dropFirst()
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
