import BlockCore
import LinuxIO
import SystemPackage

extension DeviceMapper {
  /// Removes a device that may still be open for a moment: waits with growing pauses until it can go.
  ///
  /// Cancelled, it has either removed the device or left it as it was.
  ///
  /// - Parameters:
  ///   - device: The device; one that is not there is removed already.
  ///   - deadline: How long it may take.
  ///   - clock: By which clock.
  /// - Throws: `busy` after the deadline, with those who have it open; `cancelled`; others by errno.
  public func remove(
    _ device: DeviceReference, within deadline: Duration, clock: any HostClock
  ) async throws(BlockError) {
    let end = clock.now + deadline
    var pause = Duration.milliseconds(1)
    while true {
      do throws(BlockError) {
        try remove(device)
        return
      } catch {
        if error.errno == .noSuchAddressOrDevice { return }
        guard error.errno == .resourceBusy else { throw error }
        guard clock.now < end else { throw try busy(device, error) }
      }
      do {
        try await clock.sleep(for: min(pause, max(end - clock.now, .milliseconds(1))))
      } catch {
        throw BlockError(
          .cancelled, step: "remove", object: device.description, cause: "the caller withdrew",
          remedy: "The device is as it was.")
      }
      pause = min(pause * 2, .milliseconds(200))
    }
  }

  /// The error of a device that somebody has open, with all that can be told of who it is.
  public func busy(_ device: DeviceReference, _ error: BlockError) throws(BlockError) -> BlockError {
    guard let found = try info(device) else { return error }
    var users = BlockDevice.openers(of: [found.numbers]).map(\.description)
    let mounted = MountedDevices([found.numbers])
    users += mounted.mounts(in: Mount.all()).map { "the mount at \($0.mountPoint)" }
    users += Mount.inOtherNamespaces().filter { mounted.contains($0.mount) }
      .map { "the mount at \($0.mount.mountPoint) in the namespace of \($0.process)" }
    users += BlockDevice.holders(of: "dm-\(found.numbers.minor)").map { "the device \($0)" }
    let who =
      users.isEmpty ? "somebody who cannot be seen from here" : users.joined(separator: ", ")
    return BlockError(
      .busy, step: "remove", object: found.name, cause: "it is used by \(who)",
      remedy: "Unmount or close it there, and try again.", errno: error.errno)
  }
}
