import BlockCore
import CLinux
import Glibc
import SystemPackage

extension Mount {
  /// Mounts a device.
  ///
  /// - Parameters:
  ///   - device: The block device's path.
  ///   - directory: Where.
  ///   - type: The file system's type.
  ///   - isReadOnly: Whether it is mounted read-only; the options may ask for that, too.
  ///   - options: As mount(8) takes them, comma-separated; empty for none.
  /// - Throws: By errno, with the kernel's own reason and what helps against it.
  public static func mount(
    _ device: String, at directory: String, type: String, isReadOnly: Bool, options: String = ""
  ) throws(BlockError) {
    let options = try MountOptions(options)
    let isReadOnly = isReadOnly || options.isReadOnly ?? false
    let object = "\(device) (\(type)) at \(directory)"
    let log = try KernelLog()
    do throws(BlockError) {
      let context = try FileSystemContext(type)
      try context.set("source", to: device)
      if isReadOnly { try context.set("ro", to: nil) }
      for option in options.fileSystem {
        do throws(BlockError) {
          try context.set(option.key, to: option.value)
        } catch {
          throw MountFailure.badOption(option, error, object)
        }
      }
      try context.create()
      let readOnly = isReadOnly ? UInt32(MOUNT_ATTR_RDONLY) : 0
      let mount = try context.mount(options.attributes | readOnly)
      guard move_mount(mount.raw, "", AT_FDCWD, directory, UInt32(MOVE_MOUNT_F_EMPTY_PATH)) == 0 else {
        throw .lastErrno(step: "mount", object: object)
      }
    } catch  where error.step == MountFailure.step {
      throw error
    } catch {
      let name = device.split(separator: "/").last ?? ""
      let said = log.lines { MountFailure.isAbout(name, $0) ? String($0) : nil }
      throw MountFailure(error, type: type, isReadOnly: isReadOnly, said).error(object)
    }
  }

  /// Unmounts what was mounted last at a directory.
  ///
  /// - Throws: By errno: `busy` while files there are open.
  public static func unmount(_ directory: String) throws(BlockError) {
    guard umount2(directory, Int32(UMOUNT_NOFOLLOW)) == 0 else {
      throw .lastErrno(
        step: "unmount", object: directory,
        remedy: errno == EBUSY
          ? "End what uses it: fuser -vm \(directory)." : errno == EINVAL ? "Nothing is mounted there." : nil)
    }
  }
}
