import BlockCore
import LinuxIO

/// The way out of waits for answers that nobody gives: parameters of the kernel's module.
public enum NetlinkBlocking {
  static let parameters = "/sys/module/target_core_user/parameters"

  /// Whether events fail at once, with EAGAIN for whoever causes one; `nil` without the module.
  public static var isBlocked: Bool? {
    // It reads as blocked or unblocked, whatever was written.
    SmallFile.text("\(parameters)/block_netlink").map { $0 == "blocked" }
  }

  /// Makes events fail at once, or lets them through again.
  ///
  /// - Throws: By errno.
  public static func set(_ isBlocked: Bool) throws(BlockError) {
    try LinuxFileSystem.write(isBlocked ? "1" : "0", toAttribute: "\(parameters)/block_netlink")
  }

  /// Ends every wait for an answer; whoever waits gets EINTR.
  ///
  /// Events must be blocked. It also ends waits for answers of another daemon: ask
  /// ``TCMUEvents/otherListeners()`` before.
  ///
  /// - Throws: `busy` if events are not blocked, others by errno.
  public static func reset() throws(BlockError) {
    try LinuxFileSystem.write("1", toAttribute: "\(parameters)/reset_netlink")
  }
}
