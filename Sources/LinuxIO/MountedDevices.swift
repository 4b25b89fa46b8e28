import CLinux
import Glibc

/// Tells which mounts are of some block devices.
///
/// A file system on several devices has an anonymous number in mountinfo: btrfs for every subvolume, bcachefs. What such
/// a mount is of, its source says, in whatever namespace it is; it is compared by device number. No path beneath a mount
/// is looked at: a dead one would not answer.
public struct MountedDevices: Sendable {
  /// The devices, and those of which a btrfs with one of them is made.
  private let numbers: Set<DeviceNumbers>

  /// Makes it for some devices.
  public init(_ numbers: Set<DeviceNumbers>) {
    var all = numbers
    // One directory for each btrfs that is mounted.
    for fileSystem in SmallFile.entries("/sys/fs/btrfs") {
      let names = SmallFile.entries("/sys/fs/btrfs/\(fileSystem)/devices")
      let members = Set(names.compactMap { BlockDevice.numbers(of: $0) })
      if !members.isDisjoint(with: numbers) { all.formUnion(members) }
    }
    self.numbers = all
  }

  /// Whether a mount is of one of them.
  public func contains(_ mount: Mount) -> Bool {
    if mount.device.major != 0 { return numbers.contains(mount.device) }
    // bcachefs has all of its devices there.
    return mount.source.hasPrefix("/dev/")
      && mount.source.split(separator: ":").contains {
        Self.numbers(ofSource: String($0)).map(numbers.contains) ?? false
      }
  }

  /// The mounts of them in a table, in its order.
  public func mounts(in table: [Mount]) -> [Mount] { table.filter(contains) }

  /// The device that a source is; `nil` if it is none.
  ///
  /// The kernel knows it by its own name or device-mapper's, also where another `/dev` has the node.
  private static func numbers(ofSource path: String) -> DeviceNumbers? {
    guard path.hasPrefix("/dev/"), !path.contains("..") else { return nil }
    let name = String(path.dropFirst("/dev/".count))
    // What has a slash in its name has an exclamation mark in sysfs.
    if let known = BlockDevice.numbers(of: name.replacing("/", with: "!")) { return known }
    if name.hasPrefix("mapper/") {
      let wanted = String(name.dropFirst("mapper/".count))
      return BlockDevice.names(withPrefix: "dm-").first { BlockDevice.attribute("dm/name", of: $0) == wanted }
        .flatMap { BlockDevice.numbers(of: $0) }
    }
    // A link of udev's: /dev/disk/by-uuid/…, /dev/GROUP/VOLUME.
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK else { return nil }
    return DeviceNumbers(major: clinux_major(status.st_rdev), minor: clinux_minor(status.st_rdev))
  }
}
