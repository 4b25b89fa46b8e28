import BlockCore
import CSystemd
import SystemPackage

/// What we tell the service manager that has started us (sd_notify(3)); nothing if none has.
public enum ServiceManager {
  /// The service is there: systemd starts what comes after a unit of `Type=notify`.
  ///
  /// - Parameter status: One line for `systemctl status`.
  /// - Throws: By errno if there is a service manager that cannot be told.
  public static func ready(status: String) throws(BlockError) {
    try notify("READY=1\nSTATUS=\(status)")
  }

  /// The service is about to end.
  ///
  /// - Throws: By errno, as ``ready(status:)``.
  public static func stopping() throws(BlockError) {
    try notify("STOPPING=1")
  }

  private static func notify(_ state: String) throws(BlockError) {
    let code = sd_notify(0, state)
    guard code >= 0 else {
      throw BlockError(
        errno: Errno(rawValue: -code), step: "notify", object: "the service manager ($NOTIFY_SOCKET)")
    }
  }
}
