import BlockCore
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// A directory of configfs: making, reading, writing and removing, with errors that say which step it was.
struct ConfigDirectory {
  let path: String

  init(_ path: String) {
    self.path = path
  }

  /// A path in it.
  func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

  /// Whether it is there.
  var exists: Bool { access(path, F_OK) == 0 }

  /// Makes it.
  ///
  /// - Returns: False if it was there already.
  /// - Throws: By errno.
  @discardableResult
  func make() throws(BlockError) -> Bool {
    if mkdir(path, 0o755) == 0 { return true }
    if errno == EEXIST { return false }
    throw BlockError(errno: Errno(rawValue: errno), step: "make", object: path)
  }

  /// Removes it; one that is not there is removed already.
  ///
  /// - Returns: False if something is in it.
  /// - Throws: By errno.
  @discardableResult
  func remove() throws(BlockError) -> Bool {
    if rmdir(path) == 0 || errno == ENOENT { return true }
    if errno == ENOTEMPTY { return false }
    throw BlockError(errno: Errno(rawValue: errno), step: "remove", object: path)
  }

  /// Writes an attribute, in one call and without a newline, which some attributes would keep.
  ///
  /// - Throws: By errno.
  func write(_ value: String, to attribute: String) throws(BlockError) {
    try LinuxFileSystem.write(value, toAttribute: self(attribute))
  }

  /// An attribute's text; `nil` if it is not there.
  func read(_ attribute: String) -> String? { SmallFile.text(self(attribute)) }

  /// The directories in it.
  var directories: [String] {
    SmallFile.entries(path).filter { name in
      var status = stat()
      return lstat(self(name), &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
  }

  /// The links in it: their names, and where they lead to.
  var links: [(name: String, target: String)] {
    SmallFile.entries(path).compactMap { name in link(name).map { (name, $0) } }
  }

  /// Where a link in it leads to; `nil` if there is none of that name.
  func link(_ name: String) -> String? {
    var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = target.withUnsafeMutableBytes { bytes -> Int in
      guard let place = bytes.baseAddress else { return 0 }
      return readlink(self(name), place.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    return count > 0 ? String(decoding: target[..<count], as: UTF8.self) : nil
  }
}
