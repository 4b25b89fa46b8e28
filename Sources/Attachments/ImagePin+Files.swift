import BlockCore
import Glibc
import LinuxIO

extension ImagePin {
  /// A file that is not what is served, and in what it differs, in words.
  public struct Replacement: Sendable, Hashable {
    /// The file's path.
    public var path: String
    /// In what it differs.
    public var difference: String
  }

  /// Notes what a data server of a release that says nothing of it has open; waits for their file systems.
  ///
  /// - Parameters:
  ///   - server: The data server.
  ///   - device: The device that it serves, which is no part of the image; `nil` if it has none open.
  ///   - disk: What it says of the disk.
  /// - Returns: `nil` if it is gone, or has no file open.
  /// - Throws: By errno for what cannot be looked at.
  public init?(openIn server: ProcessIdentity, except device: String?, _ disk: Disk) throws(BlockError) {
    var files: [File] = []
    let directory = "/proc/\(server.pid)"
    // The first three are its log's.
    for number in SmallFile.entries("\(directory)/fd").compactMap(Int.init).sorted() where number > 2 {
      let open = "\(directory)/fd/\(number)"
      guard var path = SmallFile.link(open), path.hasPrefix("/"), !path.hasPrefix("/memfd:"), path != device
      else { continue }
      // Nothing else is opened: a device may do anything then.
      var status = stat()
      guard stat(open, &status) == 0 else { continue }
      let isRegular = status.st_mode & S_IFMT == S_IFREG
      guard isRegular || status.st_mode & S_IFMT == S_IFBLK else { continue }
      let deleted = " (deleted)"
      if isRegular, status.st_nlink == 0, path.hasSuffix(deleted) { path.removeLast(deleted.count) }
      files.append(
        File(
          path: path, role: Self.isWritten("\(directory)/fdinfo/\(number)") ? .writable : .shared,
          state: try FileState(ofPath: open)))
    }
    guard !files.isEmpty, server.isAlive else { return nil }
    self.init(files: files, layers: [], disk: disk)
    version = Self.observedVersion
  }

  /// Whether a file is open for writing, by what proc(5) says of it.
  private static func isWritten(_ path: String) -> Bool {
    let line = SmallFile.text(path)?.split(separator: "\n").first { $0.hasPrefix("flags:") }
    let flags = line?.split(separator: "\t").last.flatMap { Int32($0, radix: 8) }
    return (flags ?? O_RDONLY) & O_ACCMODE != O_RDONLY
  }

  /// Looks whether the paths still lead to the files that are served; waits for their file systems.
  ///
  /// - Parameter image: The path of a raw disk; `nil` for another image. It counts where the pin has other names.
  /// - Returns: The first that does not; `nil` if all do. A configuration is not looked at: its content is what counts,
  ///   and ``AttachmentSpec`` has it.
  /// - Throws: By errno for what cannot be looked at.
  public func replacement(of image: String? = nil) throws(BlockError) -> Replacement? {
    for file in files where file.role != .configuration {
      do throws(BlockError) {
        let found = try FileState(ofPath: file.path)
        guard let difference = file.difference(to: found, sha256: nil) else { continue }
        return Replacement(path: file.path, difference: difference)
      } catch  where error.kind == .notFound {
        return Replacement(path: file.path, difference: "it is not there any more")
      }
    }
    guard version == Self.observedVersion, let image else { return nil }
    let found = try FileState(ofPath: image)
    guard !files.contains(where: { $0.difference(to: found, sha256: nil) == nil }) else { return nil }
    return Replacement(path: image, difference: "inode \(found.inode) is none of those that it has open")
  }
}
