import Glibc

/// Files of a few bytes, as sysfs and procfs have them.
public enum SmallFile {
  /// The text without its last newline; `nil` if it cannot be read, which for such files means that what
  /// they speak of is not there.
  public static func text(_ path: String, limit: Int = 1 << 20) -> String? {
    guard let descriptor = try? Descriptor.open(path, O_RDONLY) else { return nil }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
      let count = read(descriptor.raw, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { return nil }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The names in a directory, without `.` and `..`; none if it cannot be read.
  public static func entries(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}
