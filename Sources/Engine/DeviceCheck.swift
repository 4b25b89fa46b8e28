import BlockCore
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// Whether a new device can be used: there, of the right size, first and last block readable.
enum DeviceCheck {
  /// Checks a device.
  ///
  /// The reads go to the device itself and not to the page cache. They wait in the kernel, so they have a
  /// thread of their own, which a server that does not answer cannot take us along with.
  ///
  /// - Parameters:
  ///   - path: The device.
  ///   - byteCount: The size that it must have.
  ///   - deadline: How long it may take.
  ///   - clock: What measures that.
  /// - Throws: `timedOut` after the deadline, `ioError` for another size or an unreadable block.
  static func check(
    _ path: String, byteCount: UInt64, within deadline: Duration, clock: any HostClock
  ) async throws(BlockError) {
    let timeout = BlockError(
      .timedOut, step: "read back", object: path, cause: "it did not answer within \(deadline)",
      remedy: "Look into the log for what the data server waits for.")
    let outcome = await Race.first(within: deadline, clock: clock) { () -> Result<Void, BlockError> in
      do throws(BlockError) {
        return .success(
          try await Blocking.run("read back") { () throws(BlockError) in try readBack(path, byteCount) })
      } catch {
        return .failure(error)
      }
    }
    try (outcome ?? .failure(timeout)).get()
  }

  private static func readBack(_ path: String, _ byteCount: UInt64) throws(BlockError) {
    let device = try Descriptor.open(path, O_RDONLY | clinux_O_DIRECT)
    var size: UInt64 = 0
    guard clinux_ioctl_pointer(device.raw, clinux_BLKGETSIZE64, &size) == 0 else {
      throw BlockError(
        errno: Errno(rawValue: errno), step: "ask for the size of", object: path,
        remedy: "If something else stands there than a block device, remove it.")
    }
    guard size == byteCount else {
      throw BlockError(
        .ioError, step: "check the size of", object: path,
        cause: "it has \(size) bytes instead of \(byteCount)")
    }
    let block = min(Limits.pageSize, Int(byteCount))
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: block, alignment: Limits.pageSize)
    defer { buffer.deallocate() }
    let last = (byteCount - UInt64(block)) / VolumeGeometry.sectorSize * VolumeGeometry.sectorSize
    for offset in [0, last] {
      guard pread(device.raw, buffer, block, off_t(offset)) == block else {
        throw BlockError(
          errno: Errno(rawValue: errno), step: "read back", object: "\(path) at byte \(offset)",
          remedy: "Look into the log for what the data server said.")
      }
    }
  }
}
