import BlockCore
import LinuxIO

/// That nobody else makes or removes the device of a name, as long as this is there.
///
/// It keeps away those who ask for it, too, in this process and in others; it ends with its process.
public struct NameTurn: ~Copyable, Sendable {
  // What is locked is a byte of the driver's node, by an open file of our own.
  private let control: Descriptor

  fileprivate init(_ control: consuming Descriptor) { self.control = control }
}

extension DeviceMapper {
  /// Waits for the turn to make or remove the device of a name.
  ///
  /// The kernel makes a device in three steps, each of which finds it by name or UUID: between them somebody else could
  /// remove it, and make another one of the same name that gets the first one's table.
  ///
  /// - Parameters:
  ///   - name: The device's name.
  ///   - deadline: How long to wait.
  ///   - clock: By which clock.
  /// - Throws: `busy` after the deadline; `cancelled`; others by errno.
  public static func turn(
    at name: String, within deadline: Duration, clock: any HostClock
  ) async throws(BlockError) -> NameTurn {
    let control = try openControl()
    let end = clock.now + deadline
    var pause = Duration.milliseconds(1)
    while try !AdvisoryLock.takeByte(place(of: name), of: control, controlPath) {
      guard clock.now < end else {
        throw BlockError(
          .busy, step: "wait for", object: name,
          cause: "somebody has been making or removing the device of that name for \(deadline)",
          remedy: "Try again; if it stays so, look for what hangs: ps -C ashlar,ashlard -o pid,stat,args.")
      }
      try await clock.pause(for: pause)
      pause = min(pause * 2, .milliseconds(50))
    }
    return NameTurn(control)
  }

  /// The byte of a name, by its FNV-1a hash; two names that share one take turns as well.
  private static func place(of name: String) -> UInt32 {
    name.utf8.reduce(2_166_136_261) { ($0 ^ UInt32($1)) &* 16_777_619 }
  }
}
