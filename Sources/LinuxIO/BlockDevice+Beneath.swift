import BlockCore
import CLinux
import Glibc

/// What stands beneath a file or block device: what is changed by whoever writes to that.
///
/// Looking beneath stops at the disk of a sandbox, whose changes go to a store of its own.
public struct StorageStack: Sendable {
  /// The files: its own, and those that loop devices show, whatever they are called.
  public private(set) var files: Set<FileIdentity> = []
  /// The block devices as the kernel calls them: its own, disks of partitions, and devices beneath those of
  /// device-mapper, RAID and loop.
  private(set) var devices: Set<String> = []
  /// What the loop devices among them show: nothing but a claim keeps others from that.
  private(set) var shown: [LoopDevice.Shown] = []

  /// The file or device that was looked at, as a file, and what the kernel calls it, if it is a device.
  private var own: FileIdentity?
  private var ownDevice: String?

  private init() {}

  /// Whether one of the two stands beneath the other, or is the same: writing to one is writing to both.
  public func overlaps(_ other: StorageStack) -> Bool {
    func holds(_ stack: StorageStack, _ top: StorageStack) -> Bool {
      top.own.map { stack.files.contains($0) } ?? false
        || top.ownDevice.map { stack.devices.contains($0) } ?? false
    }
    return holds(self, other) || holds(other, self)
  }

  /// Looks beneath a path; nothing is beneath a path that leads nowhere.
  ///
  /// - Throws: What asking a loop device throws.
  public init(beneath path: String) throws(BlockError) {
    var status = stat()
    guard !path.utf8.contains(0), stat(path, &status) == 0 else {
      self.init()
      return
    }
    try self.init(beneath: status)
  }

  /// Looks beneath a file by what stat(2) says of it.
  init(beneath status: stat) throws(BlockError) {
    let identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    own = identity
    files = [identity]
    guard status.st_mode & S_IFMT == S_IFBLK else { return }
    let numbers = DeviceNumbers(major: clinux_major(status.st_rdev), minor: clinux_minor(status.st_rdev))
    ownDevice = BlockDevice.name(of: numbers)
    var names = [ownDevice].compactMap(\.self)
    while let name = names.popLast() {
      guard devices.insert(name).inserted else { continue }
      let directory = "/sys/class/block/\(name)"
      if let uuid = SmallFile.text("\(directory)/dm/uuid"), BlockDevice.isSandbox(uuid: uuid) { continue }
      names += SmallFile.entries("\(directory)/slaves")
      // A partition's directory is in its disk's.
      if SmallFile.text("\(directory)/partition") != nil {
        names += [BlockDevice.lastName(of: "\(directory)/..")].compactMap(\.self)
      }
      guard name.hasPrefix("loop"), let number = Int(name.dropFirst("loop".count)),
        let loop = try LoopDevice.shown(by: number)
      else { continue }
      shown.append(loop)
      files.insert(loop.status.file)
      if let device = loop.status.device { names += [BlockDevice.name(of: device)].compactMap(\.self) }
    }
  }

  /// The loop devices through which somebody else may change the same bytes, or has them mounted.
  ///
  /// - Parameter onlyWriters: Whether those that refuse writes do not count, whoever uses them.
  /// - Returns: The devices, and notices of those that could not be asked what they show.
  public func otherLoops(onlyWriters: Bool) -> (found: [LoopDevice.Shown], notices: [String]) {
    let parts = devices.flatMap { BlockDevice.partitions(of: $0) }
    let numbers = Set((devices.union(parts)).compactMap { BlockDevice.numbers(of: $0) })
    var found: [LoopDevice.Shown] = []
    let looks = LoopDevice.looks(
      at: LoopDevice.attached.filter { !devices.contains("loop\($0)") }, for: files)
    for loop in looks.shown {
      guard files.contains(loop.status.file) || loop.status.device.map({ numbers.contains($0) }) ?? false
      else { continue }
      if !loop.status.isReadOnly || (!onlyWriters && BlockDevice.isClaimed(loop.path)) { found.append(loop) }
    }
    return (found, looks.notices)
  }
}

extension BlockDevice {
  /// What the UUID of every device-mapper device of an engine begins with.
  public static let uuidPrefix = "ASHLAR-"
  /// What the UUID of a sandbox's disk ends with.
  public static let sandboxSuffix = "-disk"

  /// Whether a device-mapper UUID is that of a sandbox's disk: `ASHLAR-INSTANCE-ID-disk`.
  static func isSandbox(uuid: String) -> Bool {
    let parts = uuid.split(separator: "-", omittingEmptySubsequences: false)
    return uuid.hasPrefix(uuidPrefix) && uuid.hasSuffix(sandboxSuffix) && parts.count == 4
      && parts[1...2].allSatisfy { !$0.isEmpty && $0.allSatisfy(\.isHexDigit) }
  }

  /// What the kernel calls a block device; `nil` if it is not there.
  static func name(of numbers: DeviceNumbers) -> String? { lastName(of: "/sys/dev/block/\(numbers)") }

  /// The numbers of a disk or partition; `nil` if it is not there.
  static func numbers(of name: String) -> DeviceNumbers? {
    SmallFile.text("/sys/class/block/\(name)/dev").flatMap { DeviceNumbers($0) }
  }

  /// The last name of where a path of sysfs leads to; `nil` if it is not there.
  static func lastName(of path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved).split(separator: "/").last.map(String.init)
  }
}
