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
    let raw = fsopen(type, UInt32(FSOPEN_CLOEXEC))
    guard raw >= 0 else {
      let error = BlockError.lastErrno(step: "open the file system type", object: type)
      throw BlockError(
        error.errno == .operationNotSupportedByDevice ? .unavailable : error.kind, step: error.step,
        object: type, cause: error.cause,
        remedy: error.errno == .operationNotSupportedByDevice ? "Load it: modprobe \(type)." : error.remedy,
        errno: error.errno)
    }
    let context = Descriptor(owning: raw)
    for (key, value) in [("source", source)] + options {
      guard fsconfig(context.raw, FSCONFIG_SET_STRING.rawValue, key, value, 0) == 0 else {
        throw Self.failure("set \(key)=\(value) for", type, context)
      }
    }
    guard fsconfig(context.raw, FSCONFIG_CMD_CREATE.rawValue, nil, nil, 0) == 0 else {
      throw Self.failure("create", type, context)
    }
    let mount = fsmount(
      context.raw, UInt32(FSMOUNT_CLOEXEC), UInt32(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC))
    guard mount >= 0 else { throw Self.failure("mount", type, context) }
    descriptor = Descriptor(owning: mount)
  }

  /// The failed call's errno, with what the kernel logged for this file system context.
  private static func failure(
    _ step: String, _ type: String, _ context: borrowing Descriptor
  ) -> BlockError {
    let code = Errno(rawValue: errno)
    var words = [UInt8](repeating: 0, count: 512)
    let count = read(context.raw, &words, words.count)
    let said = count > 0 ? " (the kernel says: \(String(decoding: words[..<count], as: UTF8.self)))" : ""
    return BlockError(
      BlockError.Kind(errno: code), step: step, object: "a \(type) mount", cause: "\(code)\(said)",
      errno: code)
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
