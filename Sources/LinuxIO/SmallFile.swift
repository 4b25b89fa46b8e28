import BlockCore
import CLinux
import Glibc

/// Files of a few bytes, as sysfs and procfs have them.
public enum SmallFile {
  /// The text without its last newline; `nil` if it cannot be read, which for such files means that what
  /// they speak of is not there, but for ``FailedReads``.
  public static func text(_ path: String, limit: Int = 1 << 20) -> String? {
    guard var bytes = bytesIfThere(path, limit: limit) else { return nil }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// As ``bytes(_:limit:)``; `nil` if it cannot be read.
  ///
  /// Why, ``FailedReads`` takes note of.
  static func bytesIfThere(_ path: String, limit: Int) -> [UInt8]? {
    do throws(BlockError) {
      return try bytes(path, limit: limit)
    } catch {
      FailedReads.note(error)
      return nil
    }
  }

  /// The bytes of a file.
  ///
  /// - Parameter limit: How many are read; one more tells that there are more.
  /// - Throws: By errno.
  public static func bytes(_ path: String, limit: Int) throws(BlockError) -> [UInt8] {
    // Nobody is waited for who would write into a FIFO.
    let descriptor = try Descriptor.open(path, O_RDONLY | O_NONBLOCK)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count <= limit {
      let count = read(descriptor.raw, &chunk, min(chunk.count, limit + 1 - bytes.count))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .lastErrno(step: "read", object: path) }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return bytes
  }

  /// What a symbolic link holds; `nil` if there is none or it is longer than a path may be.
  public static func link(_ path: String) -> String? {
    var target = [CChar](repeating: 0, count: 4097)
    let count = readlink(path, &target, target.count)
    if count < 0 { FailedReads.note(.lastErrno(step: "read", object: path)) }
    guard count >= 0, count < target.count else { return nil }
    return String(decoding: target[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// The names in a directory, without `.` and `..`; none if it cannot be read, see ``FailedReads``.
  public static func entries(_ path: String) -> [String] {
    var names: [String] = []
    _ = hasEntry(path) { _, name in
      names.append(String(cString: name))
      return false
    }
    return names
  }

  /// Whether a directory has an entry that is looked for; `.` and `..` are none.
  ///
  /// - Parameters:
  ///   - path: The directory; one that cannot be read has none, see ``FailedReads``.
  ///   - isIt: Whether it is this one: gets the open directory's descriptor, for calls that take a path beneath it, and
  ///     the name, which ends with the call.
  static func hasEntry(
    _ path: String, where isIt: (_ directory: Int32, _ name: UnsafePointer<CChar>) -> Bool
  ) -> Bool {
    guard let directory = opendir(path) else {
      FailedReads.note(.lastErrno(step: "list", object: path))
      return false
    }
    defer { closedir(directory) }
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        if errno != 0 { FailedReads.note(.lastErrno(step: "list", object: path)) }
        return false
      }
      guard let name = clinux_entry_name(entry) else { return false }
      if strcmp(name, ".") != 0, strcmp(name, "..") != 0, isIt(dirfd(directory), name) { return true }
    }
  }
}
