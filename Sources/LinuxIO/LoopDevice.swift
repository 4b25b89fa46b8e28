import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A loop device that shows a file as a disk, held by an open descriptor.
///
/// It is configured with autoclear: the kernel takes it apart when the last one who has it open closes it,
/// also if that happens because a process died. This owner is one of those who have it open.
public struct LoopDevice: ~Copyable, Sendable {
  /// The device's number: N of `/dev/loopN`.
  public let number: Int
  let descriptor: Descriptor

  init(number: Int, descriptor: consuming Descriptor) {
    self.number = number
    self.descriptor = descriptor
  }

  /// The device's path.
  public var path: String { "/dev/loop\(number)" }

  /// How a loop device is to be set up.
  public struct Configuration: Sendable {
    /// Whether writes are refused.
    public var isReadOnly: Bool
    /// The logical block size in bytes.
    public var blockSize: Int
    /// What `losetup` shows beside the backing file; at most 63 bytes of it.
    public var label: String
    /// Where the device begins in the file, in bytes.
    public var offset: UInt64
    /// How many bytes of the file it shows; 0 for all behind `offset`.
    public var byteCount: UInt64
    /// Whether to do without direct I/O if the file turns out not to take it; otherwise that is taken for granted.
    public var checksDirectIO: Bool

    /// Makes a configuration; the parameters are those of the properties.
    public init(
      isReadOnly: Bool, blockSize: Int, label: String, offset: UInt64 = 0, byteCount: UInt64 = 0,
      checksDirectIO: Bool = false
    ) {
      self.isReadOnly = isReadOnly
      self.blockSize = blockSize
      self.label = label
      self.offset = offset
      self.byteCount = byteCount
      self.checksDirectIO = checksDirectIO
    }
  }

  /// How often to try again when others take the free device that the kernel named.
  private static let attempts = 256

  /// Sets up a free loop device over a file, with direct I/O and autoclear, in one call (`LOOP_CONFIGURE`).
  ///
  /// Whether there really is direct I/O, ``hasDirectIO`` says.
  ///
  /// - Parameters:
  ///   - file: The backing file, open for what the device is to do.
  ///   - configuration: How.
  /// - Throws: `unavailable` without the loop driver, `exhausted` without a free device, others by errno.
  public static func attach(
    _ file: borrowing Descriptor, _ configuration: Configuration
  ) throws(BlockError) -> LoopDevice {
    let isDirect = configuration.checksDirectIO ? try takesDirectIO(file) : true
    let control: Descriptor
    do {
      control = try MiscDevice.open("/dev/loop-control", driver: "loop-control")
    } catch {
      let isMissing = error.errno == .noSuchFileOrDirectory || error.kind == .unavailable
      throw BlockError(
        isMissing ? .unavailable : error.kind, step: "find a loop device with", object: "/dev/loop-control",
        cause: error.cause,
        remedy: isMissing
          ? "Load the driver: modprobe loop; in a container, give it the host's /dev/loop-control."
          : error.remedy,
        errno: error.errno)
    }
    for _ in 0..<attempts {
      let number = clinux_ioctl_value(control.raw, UInt(LOOP_CTL_GET_FREE), 0)
      guard number >= 0 else {
        throw noFreeDevice(.lastErrno(step: "get a free loop device from", object: "/dev/loop-control"))
      }
      let node = try openNode(Int(number))
      if try configure(node, Int(number), file, configuration, isDirect: isDirect) {
        return LoopDevice(number: Int(number), descriptor: node)
      }
    }
    throw BlockError(
      .exhausted, step: "set up", object: "a loop device",
      cause: "others took the free device \(attempts) times in a row", remedy: "Try again.")
  }

  private static func noFreeDevice(_ error: BlockError) -> BlockError {
    BlockError(
      .exhausted, step: error.step, object: error.object, cause: error.cause,
      remedy: "Look at what holds them (losetup -a) and detach what is not used.", errno: error.errno)
  }

  /// Opens a device's node; makes it where `/dev` lacks it, as in a container with a `/dev` of its own.
  static func openNode(_ number: Int, _ flags: Int32 = O_RDWR) throws(BlockError) -> Descriptor {
    let path = "/dev/loop\(number)"
    do {
      return try Descriptor.open(path, flags)
    } catch  where error.errno == .noSuchFileOrDirectory {
      try BlockDevice.makeNode(ofName: "loop\(number)")
      return try Descriptor.open(path, flags)
    }
  }

  /// Configures a device; false if somebody else was faster.
  private static func configure(
    _ node: borrowing Descriptor, _ number: Int, _ file: borrowing Descriptor, _ configuration: Configuration,
    isDirect: Bool
  ) throws(BlockError) -> Bool {
    var config = loop_config()
    config.fd = UInt32(file.raw)
    config.block_size = UInt32(configuration.blockSize)
    config.info.lo_flags = UInt32(LO_FLAGS_AUTOCLEAR)
    if isDirect { config.info.lo_flags |= UInt32(LO_FLAGS_DIRECT_IO) }
    config.info.lo_offset = configuration.offset
    config.info.lo_sizelimit = configuration.byteCount
    if configuration.isReadOnly { config.info.lo_flags |= UInt32(LO_FLAGS_READ_ONLY) }
    withUnsafeMutableBytes(of: &config.info.lo_file_name) { name in
      name.copyBytes(from: configuration.label.utf8.prefix(name.count - 1))
    }
    if clinux_ioctl_pointer(node.raw, UInt(LOOP_CONFIGURE), &config) == 0 { return true }
    if errno == EBUSY { return false }
    throw .lastErrno(step: "configure", object: "/dev/loop\(number)")
  }

  /// Whether a file can be read without the kernel's cache.
  ///
  /// A loop device takes an overlay's word for it. Only an open asks the file system below, which says `EINVAL`: tmpfs
  /// before Linux 6.6 does. A loop device whose file says so in the end fails every read.
  static func takesDirectIO(_ file: borrowing Descriptor) throws(BlockError) -> Bool {
    do throws(BlockError) {
      _ = try Descriptor.open("/proc/self/fd/\(file.raw)", O_RDONLY | clinux_O_DIRECT)
      return true
    } catch  where error.errno == .invalidArgument {
      return false
    }
  }

  /// Another descriptor of the device, closed on exec; whoever has it keeps the device from going.
  ///
  /// - Throws: By errno.
  public func duplicate() throws(BlockError) -> Descriptor {
    try descriptor.duplicate()
  }

  /// Whether the kernel really reads the file without a cache of its own.
  public var hasDirectIO: Bool {
    BlockDevice.attribute("loop/dio", of: "loop\(number)") == "1"
  }

  /// Whether a path names a loop device.
  public static func isLoop(_ path: String) -> Bool { path.hasPrefix("/dev/loop") }

  /// Makes the kernel look for partitions, and shows them as `/dev/loopNpM`.
  ///
  /// - Throws: By errno.
  public static func scanPartitions(of path: String) throws(BlockError) {
    let node = try Descriptor.open(path, O_RDONLY)
    var info = loop_info64()
    guard clinux_ioctl_pointer(node.raw, UInt(LOOP_GET_STATUS64), &info) == 0 else {
      throw .lastErrno(step: "get the status of", object: path)
    }
    info.lo_flags |= UInt32(LO_FLAGS_PARTSCAN)
    guard clinux_ioctl_pointer(node.raw, UInt(LOOP_SET_STATUS64), &info) == 0 else {
      throw .lastErrno(step: "scan the partitions of", object: path)
    }
  }

  /// The number of the loop device whose backing file has a name, as sysfs shows it; `nil` if there is none.
  ///
  /// The name is one that only we give and never twice, so it stands for the object that the journal
  /// speaks of and not for a prefix.
  public static func number(backedBy name: String) -> Int? {
    BlockDevice.names(withPrefix: "loop").first { isBacked("/dev/\($0)", by: name) }.flatMap {
      Int($0.dropFirst(4))
    }
  }

  /// The loop devices that stand on a device.
  public static func devices(backedBy path: String) -> [String] {
    BlockDevice.names(withPrefix: "loop").filter {
      BlockDevice.attribute("loop/backing_file", of: $0) == path
    }
  }

  /// Whether a loop device's backing file has a name, as sysfs shows it.
  public static func isBacked(_ path: String, by name: String) -> Bool {
    let disk = String(path.dropFirst("/dev/".count))
    guard let file = BlockDevice.attribute("loop/backing_file", of: disk) else { return false }
    return file == "/\(name)" || file.hasSuffix("/\(name)") || file.hasSuffix("/\(name) (deleted)")
  }
}
