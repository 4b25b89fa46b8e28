import Glibc

/// Who has a Unix socket.
public enum SocketHolder {
  /// The process that has a listening socket at a path open, other than ourselves; `nil` if none can be seen.
  ///
  /// Only links of `/proc` are read, and nothing that they point to.
  public static func find(_ path: String) -> ProcessIdentity? {
    // Num RefCount Protocol Flags Type St Inode Path
    let inodes = (SmallFile.text("/proc/net/unix") ?? "").split(separator: "\n").compactMap {
      line -> Substring? in
      let fields = line.split(separator: " ", maxSplits: 7, omittingEmptySubsequences: true)
      return fields.count == 8 && fields[7].utf8.elementsEqual(path.utf8) ? fields[6] : nil
    }
    guard !inodes.isEmpty else { return nil }
    let wanted = Set(inodes.map { "socket:[\($0)]" })
    for pid in SmallFile.entries("/proc").compactMap(Int32.init) where pid != getpid() {
      let holds = SmallFile.entries("/proc/\(pid)/fd").contains { name in
        SmallFile.link("/proc/\(pid)/fd/\(name)").map(wanted.contains) ?? false
      }
      if holds { return ProcessIdentity(pid: pid) }
    }
    return nil
  }
}
