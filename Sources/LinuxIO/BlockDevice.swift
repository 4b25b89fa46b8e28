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

  /// The size of a block device in bytes.
  ///
  /// - Throws: `notFound` if the kernel has no such device.
  public static func byteCount(ofNode path: String) throws(BlockError) -> UInt64 {
    guard let sectors = attribute("size", of: String(path.dropFirst("/dev/".count))).flatMap({ UInt64($0) })
    else {
      throw BlockError(
        .notFound, step: "get the size of", object: path, cause: "the kernel has no such block device")
    }
    return sectors * VolumeGeometry.sectorSize
  }

  /// The names of the partitions that the kernel has on a disk.
  public static func partitions(of disk: String) -> [String] {
    SmallFile.entries("/sys/block/\(disk)").filter {
      $0.hasPrefix(disk) && attribute("\($0)/partition", of: disk) != nil
    }
  }

  /// What the kernel calls a partition: `loop0p1`, but `sda1`.
  public static func partitionName(_ number: Int, of disk: String) -> String {
    disk.last?.isNumber == true ? "\(disk)p\(number)" : "\(disk)\(number)"
  }

  /// What stands on a device in the kernel: device-mapper and MD devices by their name.
  public static func holders(of disk: String) -> [String] {
    SmallFile.entries("/sys/block/\(disk)/holders")
  }

  /// Whether somebody has a device, or a partition of it, for himself alone: a mount, MD or device-mapper
  /// (open(2), `O_EXCL` without `O_CREAT`).
  public static func isClaimed(_ path: String) -> Bool {
    do throws(BlockError) {
      _ = try Descriptor.open(path, O_RDONLY | O_EXCL | O_NONBLOCK)
      return false
    } catch {
      if error.errno == .resourceBusy { return true }
      FailedReads.note(error)
      return false
    }
  }

  /// A process that has a device open.
  public struct Opener: Sendable, Hashable, CustomStringConvertible {
    /// Its process ID.
    public let pid: Int32
    /// What it is called: `comm`.
    public let command: String

    public var description: String { "\(command) (pid \(pid))" }
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
