import BlockCore
import CLinux
import Glibc
import LinuxIO
import Synchronization

// The names in /dev/mapper. Where udev runs they are its links: it removes them whoever removes the device. Without it
// they are nodes of ours. A name of ours never stands for another disk than its device.
extension DeviceMapper {
  /// How long udev may take for the link of a device before we make a node: its rules may not be there, or show only
  /// to others.
  static let linkDeadline = Duration.seconds(5)
  /// What the names of all devices of an engine begin with: sandboxes, what they stand on, and volumes.
  private static let prefixes = ["ashlar-", "ashlar.", "virtlet-dm-"]

  /// The path of a device by its name.
  public static func path(of name: String) -> String { "\(directory)/\(name)" }

  /// Whether a name can be that of a device of an engine.
  private static func isOurs(_ name: String) -> Bool { prefixes.contains { name.hasPrefix($0) } }

  /// Whether `/dev/mapper` has names that can be ours.
  public static var hasNames: Bool { SmallFile.entries(directory).contains(where: isOurs) }

  /// Removes those of our names that stand for another disk than the device of that name, or for none.
  ///
  /// Names of others, and what is right, stays.
  ///
  /// - Throws: By errno.
  public func tidyNames() throws(BlockError) {
    let entries = SmallFile.entries(Self.directory).filter(Self.isOurs)
    if entries.isEmpty { return }
    var devices: [String: DeviceNumbers] = [:]
    for (name, numbers) in try list() { devices[name] = numbers }
    for name in entries {
      // Most are right, and the kernel is asked of none of those.
      if let entry = NameEntry(Self.path(of: name)), !entry.stands(for: devices[name]) { try tidy(name) }
    }
  }

  /// Removes the name of a device that has gone by itself, as one does that was removed deferred.
  ///
  /// - Throws: By errno.
  public func tidy(_ name: String) throws(BlockError) {
    let path = Self.path(of: name)
    guard let entry = NameEntry(path), try !entry.stands(for: info(.name(name))?.numbers) else { return }
    // It may have been made anew after we looked at it, with its device.
    if NameEntry(path) == entry { unlink(path) }
  }

  /// Has the name of a device in `/dev/mapper` when this returns.
  ///
  /// - Throws: By errno.
  func show(_ name: String, _ numbers: DeviceNumbers) throws(BlockError) {
    let path = Self.path(of: name)
    // What udev asks for (udev_queue_get_udev_is_active).
    if access("/run/udev/control", F_OK) == 0, !isUdevSilent.load(ordering: .relaxed) {
      let clock = LinuxClock()
      let end = clock.now + Self.linkDeadline
      while clock.now < end {
        if NameEntry(path)?.numbers == numbers { return }
        usleep(2000)
      }
      isUdevSilent.store(true, ordering: .relaxed)
    }
    if NameEntry(path)?.numbers == numbers { return }
    hide(name)
    try BlockDevice.makeNode(at: path, numbers)
  }

  /// Removes a name; that it is gone already is no error.
  func hide(_ name: String) { unlink(Self.path(of: name)) }
}

/// A node or link that stands for a block device.
private struct NameEntry: Equatable {
  /// The device; `nil` for a link that leads nowhere.
  let numbers: DeviceNumbers?
  private let inode: UInt64
  private let seconds: Int
  private let nanoseconds: Int

  /// Whether it stands for a device; for none nothing does, nor a link that leads nowhere for any.
  func stands(for device: DeviceNumbers?) -> Bool { device != nil && numbers == device }

  /// Looks at a path; `nil` if there is neither link nor block device.
  init?(_ path: String) {
    var own = stat()
    guard lstat(path, &own) == 0, [S_IFBLK, S_IFLNK].contains(own.st_mode & S_IFMT) else { return nil }
    var target = stat()
    let isDevice = stat(path, &target) == 0 && target.st_mode & S_IFMT == S_IFBLK
    numbers =
      isDevice
      ? DeviceNumbers(major: clinux_major(target.st_rdev), minor: clinux_minor(target.st_rdev)) : nil
    inode = UInt64(own.st_ino)
    seconds = own.st_ctim.tv_sec
    nanoseconds = own.st_ctim.tv_nsec
  }
}
