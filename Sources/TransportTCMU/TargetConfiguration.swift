import BlockCore
import Glibc
import LinuxIO
import SystemPackage

/// The kernel's target subsystem in configfs.
public enum TargetConfiguration {
  /// Where it is.
  static let root = "/sys/kernel/config/target"
}
