import BlockCore
import CDevMapper
import CLinux
import Glibc
import LinuxIO
import Synchronization
import SystemPackage

/// The kernel's device-mapper: the devices of this host, by its ioctls (linux/dm-ioctl.h).
///
/// libdevmapper does the same and keeps one state for the whole process, so that its callers have to take
/// turns; a suspend that waits for a slow disk would hold up every other device. Here every call stands by
/// itself, from any thread, and the error number is the kernel's own.
///
/// Calls may wait for the kernel, ``suspend(_:_:)`` and ``remove(_:deferred:)`` for a disk.
public final class DeviceMapper: Sendable {
  /// The directory of the nodes.
  public static let directory = "/dev/mapper"
  /// The driver's node.
  static let controlPath = "\(directory)/control"
  private let control: Descriptor
  /// Whether udev has not shown a device in time: it is not waited for again.
  let isUdevSilent = Atomic<Bool>(false)

  /// Opens the driver; makes its node where `/dev` lacks it.
  ///
  /// - Throws: `unavailable` without the driver, others by errno.
  public init() throws(BlockError) {
    control = try Self.openControl()
  }

  /// Opens the driver.
  static func openControl() throws(BlockError) -> Descriptor {
    do {
      return try MiscDevice.open(controlPath, driver: "device-mapper")
    } catch {
      let isMissing = [.notFound, .unavailable].contains(error.kind)
      throw BlockError(
        isMissing ? .unavailable : error.kind, step: "open the driver of", object: "device-mapper",
        cause: error.cause,
        remedy: isMissing
          ? "Load it: modprobe dm_mod; in a container, give it the host's \(Self.directory)/control."
          : error.remedy,
        errno: error.errno)
    }
  }

  // MARK: One call

  /// Sends a command and takes its answer; tries again with a larger buffer while the answer does not fit.
  func call(
    _ command: UInt, _ request: Request, step: String, object: String
  ) throws(BlockError) -> Reply {
    var capacity = max(request.byteCount, Limits.deviceMapperFirstBytes)
    while true {
      var buffer = request.encoded(capacity: capacity)
      let raw = control.raw
      let code = buffer.withUnsafeMutableBytes { bytes in
        clinux_ioctl_pointer(raw, command, bytes.baseAddress) == 0 ? 0 : errno
      }
      if code == EINTR { continue }
      guard code == 0 else {
        throw BlockError(errno: Errno(rawValue: code), step: step, object: object)
      }
      let reply = try Reply(buffer, object: object)
      guard reply.isCut else { return reply }
      guard capacity < Limits.deviceMapperBytes else {
        throw BlockError(
          .exhausted, step: step, object: object,
          cause: "the answer has more than \(Limits.deviceMapperBytes) bytes")
      }
      capacity = min(capacity * 8, Limits.deviceMapperBytes)
    }
  }
}
