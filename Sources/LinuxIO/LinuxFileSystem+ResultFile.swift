import BlockCore
import CLinux
import Glibc
import SystemPackage

extension LinuxFileSystem {
  public func writeResultFile(
    _ path: String, _ bytes: [UInt8], sparing spared: Set<FileIdentity>
  ) async throws(BlockError) {
    let descriptor = try Self.openToReplace(path)
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else { throw .lastErrno(step: "stat", object: path) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw Self.notReplaced(path, "it is no regular file") }
    guard !spared.contains(FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))) else {
      throw BlockError(
        .conflict, step: "write", object: path, cause: "it is one of the files of the image itself",
        remedy: "Name another file.")
    }
    try Self.checkIsUnused(descriptor, path, status)
    var beginning = [UInt8](repeating: 0, count: ResultFile.markByteCount)
    let found = pread(descriptor.raw, &beginning, beginning.count, 0)
    guard found >= 0 else { throw .lastErrno(step: "read", object: path) }
    guard ResultFile.isOutcome(beginning.prefix(found)) else { throw ResultFile.notAnOutcome(path) }
    // Not before it is known what it is.
    while ftruncate(descriptor.raw, 0) != 0 {
      if errno != EINTR { throw .lastErrno(step: "empty", object: path) }
    }
    let raw = descriptor.raw
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(raw, $0.baseAddress.map { $0 + done }, $0.count - done)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .lastErrno(step: "write", object: path) }
      done += count
    }
    try descriptor.close(step: "write", object: path)
  }

  private static func openToReplace(_ path: String) throws(BlockError) -> Descriptor {
    do {
      // Not blocking, or opening a FIFO would wait for a reader.
      // For reading, too: locks of some file systems want that.
      let flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY
      return try Descriptor.open(path, flags, step: "create")
    } catch  where error.errno == .tooManySymbolicLinkLevels {
      throw notReplaced(path, "it is a symbolic link, or a link on the way to it leads in a circle")
    } catch  where error.errno == Errno(rawValue: ENXIO) {
      throw notReplaced(path, "it is no regular file")
    }
  }

  private static func notReplaced(_ path: String, _ cause: String) -> BlockError {
    BlockError(
      .invalidArgument, step: "write", object: path, cause: cause, remedy: "Name a file, or none yet.")
  }
}
