import BlockCore
import CLinux
import Glibc
import SystemPackage

extension LoopDevice {
  /// What a loop device shows, as the kernel says.
  public struct Status: Sendable, Hashable {
    /// The backing file, whatever it is called.
    public var file: FileIdentity
    /// The block device that the backing file is the node of; `nil` for a regular file.
    public var device: DeviceNumbers?
    /// Where the device begins in the file, in bytes.
    public var offset: UInt64
    /// Whether writes are refused.
    public var isReadOnly: Bool
    /// Whether it goes with its last user.
    public var isAutoclear: Bool
    /// What it was labelled with: the first 63 bytes.
    public var label: String
  }

  /// Takes hold of a loop device that is there, so that it stays.
  ///
  /// - Throws: `notFound` without such a device, others by errno.
  public init(holding number: Int) throws(BlockError) {
    self.init(number: number, descriptor: try Self.openNode(number))
  }

  /// What it shows; `nil` if nothing is attached to it.
  ///
  /// - Throws: By errno.
  public func status() throws(BlockError) -> Status? { try Self.status(of: descriptor, path) }

  private static func status(
    of descriptor: borrowing Descriptor, _ path: String
  ) throws(BlockError) -> Status? {
    var info = loop_info64()
    guard clinux_ioctl_pointer(descriptor.raw, UInt(LOOP_GET_STATUS64), &info) == 0 else {
      if errno == ENXIO { return nil }
      throw .lastErrno(step: "get the status of", object: path)
    }
    // The kernel packs device numbers as for device-mapper; stat(2) does it otherwise.
    let device = DeviceNumbers(kernel: info.lo_device)
    let label = withUnsafeBytes(of: info.lo_file_name) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    return Status(
      file: FileIdentity(
        device: UInt64(clinux_makedev(device.major, device.minor)), inode: info.lo_inode),
      // Before Linux 5.19 it repeats a regular file's device there.
      device: info.lo_rdevice == 0 || info.lo_rdevice == info.lo_device
        ? nil : DeviceNumbers(kernel: info.lo_rdevice),
      offset: info.lo_offset, isReadOnly: info.lo_flags & UInt32(LO_FLAGS_READ_ONLY) != 0,
      isAutoclear: info.lo_flags & UInt32(LO_FLAGS_AUTOCLEAR) != 0, label: label)
  }

  /// A loop device that is there, with what it shows.
  public struct Shown: Sendable, Hashable {
    /// The device's path.
    public var path: String
    /// The backing file's path as sysfs has it.
    public var backing: String
    /// What the kernel says of it.
    public var status: Status
  }

  /// What a loop device shows that is not ours to hold; `nil` if it shows nothing, or a file that no path leads to,
  /// which is what a data server exports.
  ///
  /// The kernel asks the file system of the backing file; that of a data server that hangs would not answer.
  ///
  /// - Throws: By errno.
  static func shown(by number: Int) throws(BlockError) -> Shown? {
    guard let backing = BlockDevice.attribute("loop/backing_file", of: "loop\(number)") else { return nil }
    if isExport(backing) { return nil }
    let path = "/dev/loop\(number)"
    // For reading: udev takes the close of a writer for a change of the device.
    let node: Descriptor
    do throws(BlockError) {
      node = try openNode(number, O_RDONLY | O_NONBLOCK)
    } catch  where [.notFound, .unavailable].contains(error.kind) || error.errno == .noSuchAddressOrDevice {
      return nil
    }
    return try status(of: node, path).map { Shown(path: path, backing: backing, status: $0) }
  }

  /// Whether a backing file is what a data server of ours exports: in the root of a mount that stands nowhere.
  private static func isExport(_ backing: String) -> Bool {
    guard backing.hasPrefix("/ashlar-"), !backing.dropFirst().contains("/") else { return false }
    return access(backing, F_OK) != 0
  }

  /// Its device numbers.
  ///
  /// - Throws: By errno.
  public func numbers() throws(BlockError) -> DeviceNumbers {
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else { throw .lastErrno(step: "stat", object: path) }
    return DeviceNumbers(major: clinux_major(status.st_rdev), minor: clinux_minor(status.st_rdev))
  }

  /// Takes over the size that its file has now (`LOOP_SET_CAPACITY`).
  ///
  /// - Throws: By errno.
  public func refreshSize() throws(BlockError) {
    guard clinux_ioctl_value(descriptor.raw, UInt(LOOP_SET_CAPACITY), 0) == 0 else {
      throw .lastErrno(step: "change the size of", object: path)
    }
  }

  /// The numbers of the loop devices that have a backing file.
  public static var attached: [Int] {
    BlockDevice.names(withPrefix: "loop").compactMap { name in
      BlockDevice.attribute("loop/backing_file", of: name) == nil ? nil : Int(name.dropFirst(4))
    }
  }

  /// The loop device that shows something, held; `nil` if there is none.
  ///
  /// - Parameter isWanted: Says which one it is.
  /// - Throws: By errno.
  public static func find(
    where isWanted: (Status) -> Bool
  ) throws(BlockError) -> LoopDevice? {
    for number in attached {
      do {
        let device = try LoopDevice(holding: number)
        if let status = try device.status(), isWanted(status) { return device }
      } catch  where error.kind == .notFound || error.kind == .unavailable {
        // It has gone since it was listed.
        continue
      }
    }
    return nil
  }
}

extension DeviceNumbers {
  /// Reads the numbers as the kernel packs them for ioctls (`huge_encode_dev`).
  public init(kernel packed: UInt64) {
    self.init(
      major: UInt32(truncatingIfNeeded: (packed & 0xFFF00) >> 8),
      minor: UInt32(truncatingIfNeeded: (packed & 0xFF) | ((packed >> 12) & 0xFFF00)))
  }
}
