import BlockCore
import CLinux
import Glibc

extension BlockDevice {
  /// The files that are changed by whoever writes to a path: the path's own, and what a block device stands on: disks of
  /// partitions, devices beneath those of device-mapper and RAID, backing files of loop devices.
  ///
  /// - Returns: Nothing if there is no such file.
  /// - Throws: What asking a loop device throws.
  public static func files(beneath path: String) throws(BlockError) -> Set<FileIdentity> {
    guard let own = LinuxFileSystem.identity(of: path) else { return [] }
    var files: Set<FileIdentity> = [own]
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK else { return files }
    let numbers = try numbers(ofNode: path)
    var names = [name(in: "/sys/dev/block/\(numbers)")].compactMap(\.self)
    var seen: Set<String> = []
    while let name = names.popLast() {
      guard seen.insert(name).inserted else { continue }
      let directory = "/sys/class/block/\(name)"
      names += SmallFile.entries("\(directory)/slaves")
      // A partition's directory is in its disk's.
      if SmallFile.text("\(directory)/partition") != nil {
        names += [Self.name(in: "\(directory)/..")].compactMap(\.self)
      }
      guard name.hasPrefix("loop"), let number = Int(name.dropFirst("loop".count)) else { continue }
      if let file = try LoopDevice(holding: number).status()?.file { files.insert(file) }
    }
    return files
  }

  /// The last name of where a path of sysfs leads to; `nil` if it is not there.
  private static func name(in path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved).split(separator: "/").last.map(String.init)
  }
}
