import CLinux
import Glibc

extension BlockDevice {
  /// The processes that have one of some devices open, as far as `/proc` tells; a snapshot, not a truth that lasts.
  ///
  /// A child of ours that has not become another program yet is left out: what it has open is ours. A node may stand
  /// anywhere; one outside each `/dev` is told from a file by a look that is given up where a mount's server is dead, and
  /// that mount is not looked at again until it answers. May wait all the same: not for Swift's own threads.
  ///
  /// - Parameters:
  ///   - devices: The devices.
  ///   - except: A process to leave out.
  public static func openers(of devices: Set<DeviceNumbers>, except: Int32? = nil) -> [Opener] {
    var users: Set<Int32> = []
    var files: [OpenFile] = []
    for pid in SmallFile.entries("/proc").compactMap(Int32.init) where pid != except {
      let (isUser, others) = open(by: pid, devices)
      // Asked at once: a moment later it is another program, which has nothing of that open.
      guard isUser || !others.isEmpty, !isOurChildBeforeItsProgram(pid) else { continue }
      if isUser { users.insert(pid) } else { files += others }
    }
    let found = BoundedLooks.each(files, key: \.mount) { numbers(at: $0.link, in: AT_FDCWD) }
    for (file, numbers) in zip(files, found) {
      guard let numbers = numbers ?? nil, devices.contains(numbers), !file.isPath else { continue }
      users.insert(file.pid)
    }
    return users.sorted().map { pid in
      Opener(pid: pid, command: SmallFile.text("/proc/\(pid)/comm") ?? "?")
    }
  }

  /// A descriptor of a process, which leads to a file.
  private struct OpenFile {
    let pid: Int32
    let descriptor: String

    var link: String { "/proc/\(pid)/fd/\(descriptor)" }

    /// Its mount, in words; the kernel knows it without asking the mount's server.
    var mount: String { "the mount \(field("mnt_id").map(String.init) ?? link)" }

    /// Whether it only stands for a path (`O_PATH`): such a one does not have the device open.
    var isPath: Bool {
      field("flags").flatMap { Int32($0, radix: 8) }.map { $0 & clinux_O_PATH != 0 } ?? false
    }

    private func field(_ name: String) -> Substring? {
      let lines = SmallFile.text("/proc/\(pid)/fdinfo/\(descriptor)")?.split(separator: "\n") ?? []
      return lines.first { $0.hasPrefix("\(name):") }?.dropFirst(name.count + 1).drop { $0.isWhitespace }
    }
  }

  /// Whether a process has one of some devices open by a node beneath a `/dev`; and which of its descriptors lead to
  /// files elsewhere.
  private static func open(by pid: Int32, _ devices: Set<DeviceNumbers>) -> (Bool, [OpenFile]) {
    var files: [OpenFile] = []
    let isUser = SmallFile.hasEntry("/proc/\(pid)/fd") { directory, descriptor in
      let isNode = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { path -> Bool? in
        guard let start = path.baseAddress else { return nil }
        let count = readlinkat(directory, descriptor, start, path.count - 1)
        // Pipes, sockets and the like have no path.
        guard count > 0, start[0] == CChar(bitPattern: UInt8(ascii: "/")) else { return nil }
        start[count] = 0
        // Also in a container's file system, which we see beneath another path.
        return strstr(start, "/dev/") != nil
      }
      guard let isNode else { return false }
      let file = OpenFile(pid: pid, descriptor: String(cString: descriptor))
      guard isNode else {
        files.append(file)
        return false
      }
      // Beneath the open directory: the way from the root would be gone anew for each.
      guard let numbers = numbers(at: descriptor, in: directory) else { return false }
      return devices.contains(numbers) && !file.isPath
    }
    return (isUser, files)
  }

  /// The numbers of a block device, from what the kernel knows without asking a server; `nil` for another file.
  private static func numbers(at path: UnsafePointer<CChar>, in directory: Int32) -> DeviceNumbers? {
    var numbers = (major: UInt32(0), minor: UInt32(0))
    guard clinux_block_device_numbers(directory, path, &numbers.major, &numbers.minor) else { return nil }
    return DeviceNumbers(major: numbers.major, minor: numbers.minor)
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
