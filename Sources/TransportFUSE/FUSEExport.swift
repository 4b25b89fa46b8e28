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
  /// A running export, whose file nobody has open yet.
  public struct Started: ~Copyable {
    /// The export.
    public let export: FUSEExport
    /// The connection's number: its directory in `/sys/fs/fuse/connections`.
    public let connection: UInt32
    private let mount: DetachedMount
    private let name: String

    fileprivate init(_ export: FUSEExport, _ mount: consuming DetachedMount, _ name: String)
      throws(BlockError)
    {
      self.export = export
      // FUSE names its connections by the minor number of their file system's device.
      connection = try mount.deviceMinor()
      self.mount = mount
      self.name = name
    }

    /// Opens the file.
    ///
    /// It is its only descriptor; when the last one goes, the export ends.
    ///
    /// The calling process answers for the file itself. Killed before it has, it waits for ever, unless somebody who knows
    /// the connection's number aborts that.
    ///
    /// - Throws: By errno.
    public consuming func openFile() throws(BlockError) -> Descriptor {
      try mount.open(name, export.isReadOnly ? O_RDONLY : O_RDWR)
    }
  }

  private let queues: [FUSEQueue]
  private let connection: FUSEConnection
  private let isReadOnly: Bool

  /// Exports a volume as a file; ``Started/openFile()`` opens it.
  ///
  /// - Parameters:
  ///   - volume: What to export.
  ///   - name: The file's name: what the loop device shows as its backing file.
  ///   - queueCount: How many threads serve it.
  ///   - executor: Where requests wait that have to.
  ///   - onReport: Called, on any thread, with what a log should hold.
  /// - Returns: The export.
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
    return try Started(
      FUSEExport(queues, connection, isReadOnly: volume.geometry.isReadOnly), mount, name)
  }

  private init(_ queues: [FUSEQueue], _ connection: FUSEConnection, isReadOnly: Bool) {
    self.connection = connection
    self.queues = queues
    self.isReadOnly = isReadOnly
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
