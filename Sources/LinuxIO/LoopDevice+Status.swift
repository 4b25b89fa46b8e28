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

  static func status(
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

  /// The loop device that shows something, held; `nil` if there is none among those that say what they show.
  ///
  /// - Parameter isWanted: Says which one it is.
  /// - Throws: By errno.
  public static func find(
    where isWanted: (Status) -> Bool
  ) throws(BlockError) -> LoopDevice? {
    for shown in looks(at: attached).shown where isWanted(shown.status) {
      do throws(BlockError) {
        let device = try LoopDevice(holding: shown.number)
        if let status = try device.status(), isWanted(status) { return device }
      } catch  where error.kind == .notFound || error.kind == .unavailable {
        // It has gone since it was asked.
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
