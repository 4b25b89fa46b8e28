import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A file system that is being set up to be mounted: fsopen(2) and fsconfig(2), kernel 5.2.
///
/// Each option is given by itself, so that an error says which one the file system does not like, and in its own
/// words, where it has any.
struct FileSystemContext: ~Copyable {
  private let descriptor: Descriptor
  private let type: String

  /// Begins with a type of file system, which the kernel loads if it can.
  ///
  /// - Throws: `unavailable` if the kernel lacks the type, others by errno.
  init(_ type: String) throws(BlockError) {
    let raw = fsopen(type, UInt32(FSOPEN_CLOEXEC))
    guard raw >= 0 else {
      let error = BlockError.lastErrno(step: "open the file system type", object: type)
      guard error.errno == .operationNotSupportedByDevice else { throw error }
      throw BlockError(
        .unavailable, step: error.step, object: type, cause: error.cause,
        remedy: "This kernel lacks it, or its module is not loaded: modprobe \(type).", errno: error.errno)
    }
    descriptor = Descriptor(owning: raw)
    self.type = type
  }

  /// Sets an option: to a value, or as a word without one.
  ///
  /// - Throws: By errno, with the file system's own words.
  func set(_ key: String, to value: String?) throws(BlockError) {
    let command = value == nil ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING
    guard fsconfig(descriptor.raw, command.rawValue, key, value, 0) == 0 else {
      throw failure("set \(value.map { "\(key)=\($0)" } ?? key) for")
    }
  }

  /// Finds the file system with these options.
  ///
  /// - Throws: By errno, with the file system's own words.
  func create() throws(BlockError) {
    guard fsconfig(descriptor.raw, FSCONFIG_CMD_CREATE.rawValue, nil, nil, 0) == 0 else {
      throw failure("create")
    }
  }

  /// Makes a mount of it, which stands nowhere in the tree of files.
  ///
  /// - Parameter attributes: `MOUNT_ATTR_NOSUID` and its like.
  /// - Throws: By errno, with the file system's own words.
  func mount(_ attributes: UInt32) throws(BlockError) -> Descriptor {
    let mount = fsmount(descriptor.raw, UInt32(FSMOUNT_CLOEXEC), attributes)
    guard mount >= 0 else { throw failure("mount") }
    return Descriptor(owning: mount)
  }

  /// The failed call's errno, with what the kernel has noted for this context.
  private func failure(_ step: String) -> BlockError {
    let code = Errno(rawValue: errno)
    let said = messages()
    let words = said.isEmpty ? "" : " (the kernel says: \(said.joined(separator: "; ")))"
    return BlockError(
      BlockError.Kind(errno: code), step: step, object: "a \(type) mount", cause: "\(code)\(words)",
      errno: code)
  }

  /// The messages of the context: a letter for the level, a space, and the text.
  private func messages() -> [String] {
    var messages: [String] = []
    var bytes = [UInt8](repeating: 0, count: 1024)
    while messages.count < 8 {
      let count = read(descriptor.raw, &bytes, bytes.count)
      guard count > 0 else { break }
      messages.append(
        String(decoding: bytes[..<count].dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
    }
    return messages
  }
}
