import BlockCore
import CLinux
import Glibc
import SystemPackage

/// What the kernel says of a block device, in sysfs and procfs.
public enum BlockDevice {
  /// An attribute of a disk without the newline behind it; `nil` if the disk or the attribute is not there.
  public static func attribute(_ attribute: String, of disk: String) -> String? {
    SmallFile.text("/sys/block/\(disk)/\(attribute)")
  }

  /// The names of the disks that begin in a certain way.
  public static func names(withPrefix prefix: String) -> [String] {
    SmallFile.entries("/sys/block").filter { $0.hasPrefix(prefix) }
  }

  /// The device number of a disk or partition by its name.
  ///
  /// - Throws: `notFound` if the kernel has no such device.
  static func numbers(ofName name: String) throws(BlockError) -> dev_t {
    guard let text = SmallFile.text("/sys/class/block/\(name)/dev"),
      let numbers = DeviceNumbers(text)
    else {
      throw BlockError(
        .notFound, step: "find", object: "/dev/\(name)", cause: "the kernel has no such block device")
    }
    return clinux_makedev(numbers.major, numbers.minor)
  }

  /// The device numbers of a block device's node.
  ///
  /// - Throws: `invalidArgument` if the path is no block device, others by errno.
  public static func numbers(ofNode path: String) throws(BlockError) -> DeviceNumbers {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .lastErrno(step: "stat", object: path) }
    guard status.st_mode & S_IFMT == S_IFBLK else {
      throw BlockError(.invalidArgument, step: "stat", object: path, cause: "it is no block device")
    }
    return DeviceNumbers(major: clinux_major(status.st_rdev), minor: clinux_minor(status.st_rdev))
  }

  /// The size of a block device in bytes; `nil` if it is not there.
  public static func byteCount(of disk: String) -> UInt64? {
    attribute("size", of: disk).flatMap(UInt64.init).map { $0 * VolumeGeometry.sectorSize }
  }

  /// What stands on a device in the kernel: device-mapper and MD devices by their name.
  public static func holders(of disk: String) -> [String] {
    SmallFile.entries("/sys/block/\(disk)/holders")
  }

  /// A process that has a device open.
  public struct Opener: Sendable, Hashable, CustomStringConvertible {
    /// Its process ID.
    public let pid: Int32
    /// What it is called: `comm`.
    public let command: String

    public var description: String { "\(command) (pid \(pid))" }
  }

  /// The processes that have a device open, as far as `/proc` tells; a snapshot, not a truth that lasts.
  ///
  /// - Parameters:
  ///   - numbers: The device.
  ///   - except: A process to leave out.
  public static func openers(of numbers: DeviceNumbers, except: Int32? = nil) -> [Opener] {
    SmallFile.entries("/proc").compactMap(Int32.init).filter { $0 != except }.compactMap { pid in
      let hasOpen = SmallFile.entries("/proc/\(pid)/fd").contains { fd in
        var status = stat()
        guard stat("/proc/\(pid)/fd/\(fd)", &status) == 0, status.st_mode & S_IFMT == S_IFBLK else { return false }
        return DeviceNumbers(major: clinux_major(status.st_rdev), minor: clinux_minor(status.st_rdev)) == numbers
      }
      return hasOpen ? Opener(pid: pid, command: SmallFile.text("/proc/\(pid)/comm") ?? "?") : nil
    }
  }
}

/// The two numbers that name a device to the kernel.
public struct DeviceNumbers: Sendable, Hashable, CustomStringConvertible {
  /// The driver's number.
  public let major: UInt32
  /// The device's number with its driver.
  public let minor: UInt32

  /// Makes a pair.
  public init(major: UInt32, minor: UInt32) {
    self.major = major
    self.minor = minor
  }

  /// Reads a pair as sysfs and mountinfo write it: `7:3`.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ":")
    guard parts.count == 2, let major = UInt32(parts[0]), let minor = UInt32(parts[1]) else { return nil }
    self.init(major: major, minor: minor)
  }

  public var description: String { "\(major):\(minor)" }
}

/// Files of a few bytes, as sysfs and procfs have them.
public enum SmallFile {
  /// The text without its last newline; `nil` if it cannot be read, which for such files means that what
  /// they speak of is not there.
  public static func text(_ path: String, limit: Int = 1 << 20) -> String? {
    guard let descriptor = try? Descriptor.open(path, O_RDONLY) else { return nil }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
      let count = read(descriptor.raw, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { return nil }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The names in a directory, without `.` and `..`; none if it cannot be read.
  public static func entries(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}
