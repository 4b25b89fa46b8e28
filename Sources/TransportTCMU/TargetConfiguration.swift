import BlockCore
import Glibc
import LinuxIO
import SystemPackage

/// The kernel's target subsystem: its modules, and its tree in configfs.
public enum TargetConfiguration {
  private static let mountPoint = "/sys/kernel/config"
  /// Where the tree is.
  static let root = "\(mountPoint)/target"

  /// What is needed, and where its presence shows.
  private static let modules = [
    (name: "target_core_user", sign: "/sys/module/target_core_user"),
    (name: "tcm_loop", sign: "/sys/module/tcm_loop"),
    (name: "sd_mod", sign: "/sys/bus/scsi/drivers/sd"),
  ]

  /// Sees to it that backstores can be made and exported: loads modules and mounts configfs, where they are
  /// missing.
  ///
  /// It waits, on the calling thread, for modprobe.
  ///
  /// - Throws: `unavailable` if a module is not there and cannot be loaded, or configfs cannot be mounted.
  public static func prepare() throws(BlockError) {
    for module in modules where access(module.sign, F_OK) != 0 { try load(module.name) }
    if access(root, F_OK) != 0 {
      guard mount("configfs", mountPoint, "configfs", 0, nil) == 0 || errno == EBUSY, access(root, F_OK) == 0
      else {
        throw BlockError(
          .unavailable, step: "find", object: root,
          cause: "configfs is not mounted there, and cannot be: \(Errno(rawValue: errno))",
          remedy: "Mount it: mount -t configfs configfs \(mountPoint); in a container, on the host.")
      }
    }
    try prepareReservations()
  }

  /// Loads a module, for which modprobe looks where the kernel's modules are.
  ///
  /// - Throws: `unavailable` if it cannot be.
  public static func load(_ module: String) throws(BlockError) {
    var cause = "there is no modprobe"
    for program in ["/usr/sbin/modprobe", "/sbin/modprobe"] where access(program, X_OK) == 0 {
      let pid = try ChildProcess.start(.init(program: program, arguments: [module], descriptors: [:]))
      let end = ChildProcess.waitForEnd(of: pid)
      if case .exited(0) = end { return }
      cause = "modprobe failed: \(end)"
      break
    }
    throw BlockError(
      .unavailable, step: "load", object: "the kernel module \(module)", cause: cause,
      remedy: "Load it: modprobe \(module); in a container, on the host. Or use another transport.")
  }

  /// Makes the directory in which the kernel keeps persistent reservations; without it they fail.
  ///
  /// Others may have told the kernel another place since it was made (rtslib does), so it is looked at whenever a
  /// backstore comes.
  ///
  /// - Throws: By errno.
  public static func prepareReservations() throws(BlockError) {
    guard let place = SmallFile.text("\(root)/dbroot") else { return }
    for path in [place, "\(place)/pr"] {
      guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
        throw BlockError(
          errno: Errno(rawValue: errno), step: "make", object: path,
          remedy: "Make it: mkdir -p \(place)/pr; the kernel keeps persistent reservations there.")
      }
    }
  }
}
