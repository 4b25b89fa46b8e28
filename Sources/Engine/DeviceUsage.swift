import BlockCore
import CLinux
import Glibc
import LinuxIO

/// Who uses a device: evidence taken at one moment.
struct DeviceUsage: Sendable {
  /// Where it, or a partition of it, is mounted in our mount namespace.
  var mounts: [Mount] = []
  /// Where it is mounted in others, in words.
  var mountsElsewhere: [String] = []
  /// Devices of the kernel that stand on it.
  var holders: [String] = []
  /// Processes that have it open, but its server and us.
  var openers: [BlockDevice.Opener] = []
  /// Whether the kernel says that somebody has it for himself alone, as one who mounts it does.
  var isClaimed = false
  /// Why not all of that could be seen; `nil` if it could.
  var unseen: BlockError?

  /// Nobody.
  init() {}

  /// Looks at a device and at its partitions.
  ///
  /// - Parameters:
  ///   - path: The device: `/dev/loopN`.
  ///   - servedBy: The process that serves it.
  init(of path: String, servedBy server: Int32?) {
    let (seen, failed) = FailedReads.during { DeviceUsage(seenOf: path, servedBy: server) }
    self = seen
    unseen = failed
  }

  private init(seenOf path: String, servedBy server: Int32?) {
    let devices = Self.devices(of: path)
    let mounted = MountedDevices(Set(devices.map(\.numbers)))
    mounts = Self.mounts(of: path, in: Mount.all())
    mountsElsewhere = Mount.inOtherNamespaces().filter { mounted.contains($0.mount) }
      .map { "\($0.mount.mountPoint) in the namespace of \($0.process)" }
    for (name, _) in devices {
      holders += SmallFile.entries("/sys/class/block/\(name)/holders")
      holders += LoopDevice.devices(backedBy: "/dev/\(name)")
    }
    openers = BlockDevice.openers(of: Set(devices.map(\.numbers)), except: server).filter {
      $0.pid != getpid()
    }
    isClaimed = BlockDevice.isClaimed(path)
  }

  /// Where a disk, or a partition of it, is mounted, the one mounted last first.
  static func mounts(of path: String, in table: [Mount]) -> [Mount] {
    MountedDevices(Set(devices(of: path).map(\.numbers))).mounts(in: table).reversed()
  }

  /// A disk and its partitions.
  private static func devices(of path: String) -> [(name: String, numbers: DeviceNumbers)] {
    let disk = String(path.dropFirst("/dev/".count))
    return ([disk] + BlockDevice.partitions(of: disk)).compactMap { name in
      SmallFile.text("/sys/class/block/\(name)/dev").flatMap(DeviceNumbers.init).map { (name, $0) }
    }
  }

  /// Whether anybody uses it, as far as can be seen, or may use it.
  var isInUse: Bool { isSeenInUse || unseen != nil }

  /// Whether somebody was seen who uses it.
  var isSeenInUse: Bool { isMountedOrHeld || !openers.isEmpty || isClaimed }

  /// Whether it is open somewhere, but neither mounted nor beneath another device, as far as can be seen.
  var isOnlyOpen: Bool { isInUse && !isMountedOrHeld }

  private var isMountedOrHeld: Bool { !mounts.isEmpty || !mountsElsewhere.isEmpty || !holders.isEmpty }

  /// Who uses it, in words.
  var description: String {
    var parts: [String] = []
    let places = mounts.map(\.mountPoint) + mountsElsewhere
    if !places.isEmpty { parts.append("mounted at \(places.joined(separator: ", "))") }
    if !holders.isEmpty { parts.append("used by \(holders.map { "/dev/\($0)" }.joined(separator: ", "))") }
    if !openers.isEmpty { parts.append("open in \(openers.map(\.description).joined(separator: ", "))") }
    if let unseen { parts.append("perhaps used by somebody who could not be seen (\(unseen))") }
    return parts.isEmpty ? "open somewhere out of our sight" : parts.joined(separator: ", ")
  }
}
