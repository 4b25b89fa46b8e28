import CLinux
import Glibc

extension BlockDevice {
  /// The processes that have one of some devices open, as far as `/proc` tells; a snapshot, not a truth that lasts.
  ///
  /// A child of ours that has not become another program yet is left out: what it has open is ours. Looks at nothing
  /// but device nodes, since a file on a mount whose server is dead would let nobody go who asks for it. May wait all
  /// the same: not for Swift's own threads.
  ///
  /// - Parameters:
  ///   - devices: The devices, by a node beneath some `/dev`.
  ///   - except: A process to leave out.
  public static func openers(of devices: Set<DeviceNumbers>, except: Int32? = nil) -> [Opener] {
    SmallFile.entries("/proc").compactMap(Int32.init).filter { $0 != except }.compactMap { pid in
      let hasOpen = SmallFile.hasEntry("/proc/\(pid)/fd") { directory, descriptor in
        guard let numbers = numbers(of: descriptor, in: directory) else { return false }
        return devices.contains(numbers) && !isPath(String(cString: descriptor), of: pid)
      }
      guard hasOpen, !isOurChildBeforeItsProgram(pid) else { return nil }
      return Opener(pid: pid, command: SmallFile.text("/proc/\(pid)/comm") ?? "?")
    }
  }

  /// The device that another process's descriptor is of, if it is one of a node beneath a `/dev`.
  ///
  /// Beneath the open directory: there are thousands of them, and the way from the root would be gone anew for each.
  private static func numbers(of descriptor: UnsafePointer<CChar>, in directory: Int32) -> DeviceNumbers? {
    let isNode = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { path in
      guard let start = path.baseAddress else { return false }
      let count = readlinkat(directory, descriptor, start, path.count - 1)
      guard count > 0 else { return false }
      start[count] = 0
      // Also in a container's file system, which we see beneath another path.
      return strstr(start, "/dev/") != nil
    }
    var numbers = (major: UInt32(0), minor: UInt32(0))
    guard isNode, clinux_block_device_numbers(directory, descriptor, &numbers.major, &numbers.minor) else {
      return nil
    }
    return DeviceNumbers(major: numbers.major, minor: numbers.minor)
  }

  /// Whether a descriptor only stands for a path (`O_PATH`): such a one does not have the device open.
  private static func isPath(_ fd: String, of pid: Int32) -> Bool {
    guard let info = SmallFile.text("/proc/\(pid)/fdinfo/\(fd)"),
      let line = info.split(separator: "\n").first(where: { $0.hasPrefix("flags:") }),
      let flags = Int32(line.dropFirst("flags:".count).drop { $0.isWhitespace }, radix: 8)
    else { return false }
    return flags & clinux_O_PATH != 0
  }

  /// `PF_FORKNOEXEC` of linux/sched.h: it was forked and has not called exec(2).
  private static let hasNoProgramYet: UInt32 = 0x40

  private static func isOurChildBeforeItsProgram(_ pid: Int32) -> Bool {
    guard let fields = ProcessIdentity.fields(of: pid), let parent = Int32(fields[1]),
      let flags = UInt32(fields[6])
    else { return false }
    return parent == getpid() && flags & hasNoProgramYet != 0
  }
}
