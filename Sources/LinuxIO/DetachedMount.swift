import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A mounted file system that stands nowhere in the tree of files: only its descriptor leads to it.
///
/// Nobody can walk into it, no other mount namespace sees it, and it is gone when the last descriptor of
/// it or of a file in it is closed, however our process ends. That is what `fsopen(2)` and `fsmount(2)`
/// give (kernel 5.2), and what no mount point and no private mount namespace gives so completely.
public struct DetachedMount: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Mounts a file system.
  ///
  /// - Parameters:
  ///   - type: The file system's type: `fuse`.
  ///   - source: What the mount table would show as its source.
  ///   - options: Its options, in order.
  /// - Throws: `unavailable` if the kernel lacks the type, others by errno, with the kernel's own words.
  public init(
    _ type: String, source: String, options: [(key: String, value: String)]
  ) throws(BlockError) {
    let context = try FileSystemContext(type)
    for (key, value) in [("source", source)] + options { try context.set(key, to: value) }
    try context.create()
    descriptor = try context.mount(UInt32(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC))
  }

  /// The minor number of its file system's device; the file system is not asked.
  ///
  /// - Throws: By errno.
  public func deviceMinor() throws(BlockError) -> UInt32 {
    var minor: UInt32 = 0
    guard clinux_device_minor(descriptor.raw, &minor) == 0 else {
      throw .lastErrno(step: "look at", object: "the private mount")
    }
    return minor
  }

  /// Opens a file in it, closed on exec.
  ///
  /// - Parameters:
  ///   - name: The path in it.
  ///   - flags: `O_RDONLY` and its like.
  /// - Throws: By errno.
  public func open(_ name: String, _ flags: Int32) throws(BlockError) -> Descriptor {
    let raw = clinux_openat(descriptor.raw, name, flags | O_CLOEXEC)
    guard raw >= 0 else { throw .lastErrno(step: "open", object: "\(name) in the private mount") }
    return Descriptor(owning: raw)
  }
}
