import BlockCore
import CFuse
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// A volume as one file of a FUSE file system that is mounted nowhere.
///
/// It lives as long as somebody has the file open, which is the loop device on top of it: when that goes,
/// the kernel ends the connection and the queues stop.
public final class FUSEExport: Sendable {
  /// A running export, and the only descriptor of its file.
  @frozen
  public struct Started: ~Copyable {
    /// The export.
    public let export: FUSEExport
    /// The connection's number: its directory in `/sys/fs/fuse/connections`.
    public let connection: UInt32
    /// The file; when its last descriptor goes, the export ends.
    public let file: Descriptor
  }

  private let queues: [FUSEQueue]
  private let connection: FUSEConnection

  /// Exports a volume and opens its file.
  ///
  /// - Parameters:
  ///   - volume: What to export.
  ///   - name: The file's name: what the loop device shows as its backing file.
  ///   - queueCount: How many threads serve it.
  ///   - executor: Where requests wait that have to.
  ///   - onReport: Called, on any thread, with what a log should hold.
  /// - Returns: The export, and the file's only descriptor.
  /// - Throws: `unavailable` without FUSE, others by errno.
  public static func start(
    _ volume: any Volume, name: String, queueCount: Int, executor: BlockingExecutor,
    onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) -> Started {
    let master = try openDevice()
    let connection = try FUSEConnection(
      master: master, fileName: name, geometry: volume.geometry, executor: executor, onReport: onReport)
    let mount = try DetachedMount(
      "fuse", source: "ashlar",
      options: [
        ("fd", "\(master.raw)"), ("rootmode", "40000"), ("user_id", "\(getuid())"),
        ("group_id", "\(getgid())"),
        ("max_read", "\(Limits.requestBytes)"),
      ])
    var queues: [FUSEQueue] = []
    for _ in 1..<max(queueCount, 1) {
      queues.append(FUSEQueue(try clone(of: master), volume, connection))
    }
    queues.append(FUSEQueue(master, volume, connection))
    for (number, queue) in queues.enumerated() { try queue.start(number) }
    let export = FUSEExport(queues, connection)
    let file = try mount.open(name, volume.geometry.isReadOnly ? O_RDONLY : O_RDWR)
    return Started(export: export, connection: try connectionNumber(of: file), file: file)
  }

  /// FUSE names its connections by the minor number of their file system's device.
  private static func connectionNumber(of file: borrowing Descriptor) throws(BlockError) -> UInt32 {
    var status = stat()
    guard fstat(file.raw, &status) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "stat", object: "the exported file")
    }
    return clinux_minor(status.st_dev)
  }

  private init(_ queues: [FUSEQueue], _ connection: FUSEConnection) {
    self.connection = connection
    self.queues = queues
  }

  /// The lowest number of a connection's descriptor.
  ///
  /// The kernel closes the files of a process that dies from the highest number down. The connection has to
  /// end before the loop device is closed: closing that may write to the file, and would wait for answers
  /// that nobody gives any more.
  static let lowestDescriptor: Int32 = 512

  private static func openDevice() throws(BlockError) -> Descriptor {
    let device: Descriptor
    do {
      device = try Descriptor.open("/dev/fuse", O_RDWR)
    } catch {
      let isMissing = error.errno == .noSuchFileOrDirectory || error.kind == .unavailable
      throw BlockError(
        isMissing ? .unavailable : error.kind, step: "open", object: "/dev/fuse", cause: error.cause,
        remedy: isMissing
          ? "Load the driver: modprobe fuse; in a container, give it the host's /dev/fuse." : error.remedy,
        errno: error.errno)
    }
    do {
      return try device.duplicate(notBelow: lowestDescriptor)
    } catch {
      throw BlockError(
        .exhausted, step: "open", object: "/dev/fuse",
        cause: "this process may not have \(lowestDescriptor) files open, and a few more: \(error.cause)",
        remedy:
          "Raise the limit of whoever starts the manager to 1024 or more (ulimit -n; LimitNOFILE=), and start that "
          + "anew: ashlar daemon stop.",
        errno: error.errno)
    }
  }

  /// Another descriptor of the same connection, with a queue of its own in the kernel.
  private static func clone(of master: borrowing Descriptor) throws(BlockError) -> Descriptor {
    let clone = try openDevice()
    var number = UInt32(master.raw)
    guard clinux_ioctl_pointer(clone.raw, clinux_FUSE_DEV_IOC_CLONE, &number) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "clone", object: "/dev/fuse")
    }
    return clone
  }

  /// Runs a body that makes the loop device, before anybody can use it; flushes are answered without one meanwhile.
  ///
  /// - Throws: What the body throws.
  public func settingUp<Value: ~Copyable>(
    _ body: () throws(BlockError) -> Value
  ) throws(BlockError) -> Value {
    try connection.settingUp(body)
  }

  /// What all queues have done so far.
  public var counters: RequestCounters.Snapshot {
    queues.reduce(into: RequestCounters.Snapshot()) { $0 += $1.counters.snapshot }
  }

  /// Waits, on the calling thread, until the connection has ended and every request was answered; to be
  /// called exactly once.
  public func waitUntilEnd() {
    for queue in queues { queue.waitUntilEnd() }
  }
}
