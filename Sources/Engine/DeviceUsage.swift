import BlockCore
import CLinux
import Glibc
import LinuxIO

/// Who uses a device: evidence for an error message, taken at one moment.
struct DeviceUsage: Sendable {
  /// Where it, or a partition of it, is mounted in our mount namespace.
  var mounts: [Mount] = []
  /// Devices of the kernel that stand on it.
  var holders: [String] = []
  /// Processes that have it open, but its server and us.
  var openers: [BlockDevice.Opener] = []

  /// Nobody.
  init() {}

  /// Looks at a device and at its partitions.
  ///
  /// - Parameters:
  ///   - path: The device: `/dev/loopN`.
  ///   - servedBy: The process that serves it.
  init(of path: String, servedBy server: Int32?) {
    let disk = String(path.dropFirst("/dev/".count))
    let partitions = SmallFile.entries("/sys/block/\(disk)").filter { $0.hasPrefix("\(disk)p") }
    for name in [disk] + partitions {
      guard let text = SmallFile.text("/sys/class/block/\(name)/dev"), let numbers = DeviceNumbers(text)
      else {
        continue
      }
      mounts += Mount.of(numbers)
      holders += SmallFile.entries("/sys/class/block/\(name)/holders")
      openers += BlockDevice.openers(of: numbers).filter { $0.pid != server && $0.pid != getpid() }
    }
  }

  /// Whether anybody uses it, as far as can be seen.
  var isInUse: Bool { !mounts.isEmpty || !holders.isEmpty || !openers.isEmpty }

  /// Whether it is open somewhere, but neither mounted nor beneath another device.
  var isOnlyOpen: Bool { mounts.isEmpty && holders.isEmpty && !openers.isEmpty }

  /// Who uses it, in words.
  var description: String {
    var parts: [String] = []
    if !mounts.isEmpty { parts.append("mounted at \(mounts.map(\.mountPoint).joined(separator: ", "))") }
    if !holders.isEmpty { parts.append("used by \(holders.map { "/dev/\($0)" }.joined(separator: ", "))") }
    if !openers.isEmpty { parts.append("open in \(openers.map(\.description).joined(separator: ", "))") }
    return parts.isEmpty ? "open somewhere out of our sight" : parts.joined(separator: ", ")
  }
}
