import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The drivers that have one character device each, whose numbers stand in `/proc/misc`.
public enum MiscDevice {
  /// Opens a driver's device for reading and writing; makes its node where `/dev` lacks it, as in a container.
  ///
  /// - Parameters:
  ///   - path: The node.
  ///   - driver: What `/proc/misc` calls the driver.
  /// - Throws: `notFound` without node and driver, `unavailable` if nothing is behind the node, others by errno.
  public static func open(_ path: String, driver: String) throws(BlockError) -> Descriptor {
    do {
      return try Descriptor.open(path, O_RDWR)
    } catch  where error.errno == .noSuchFileOrDirectory {
      guard let minor = minor(of: driver) else { throw error }
      let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
      guard mkdir(directory, 0o755) == 0 || errno == EEXIST else {
        throw .lastErrno(step: "make the directory", object: directory)
      }
      guard mknod(path, S_IFCHR | 0o600, clinux_makedev(10, minor)) == 0 || errno == EEXIST else {
        throw .lastErrno(
          step: "make the missing node", object: path, remedy: "Make it: mknod \(path) c 10 \(minor).")
      }
      return try Descriptor.open(path, O_RDWR)
    }
  }

  private static func minor(of driver: String) -> UInt32? {
    for line in (SmallFile.text("/proc/misc") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count == 2, fields[1] == driver { return UInt32(fields[0]) }
    }
    return nil
  }
}
