import BlockCore
import CLinux
import Glibc

extension FileState {
  /// The state of an open file.
  ///
  /// - Throws: By errno.
  public init(of descriptor: borrowing Descriptor, _ path: String) throws(BlockError) {
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else { throw .lastErrno(step: "stat", object: path) }
    self.init(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino), byteCount: UInt64(status.st_size),
      modified: Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec))
    guard status.st_mode & S_IFMT == S_IFBLK else {
      generation = Self.number(descriptor, clinux_FS_IOC_GETVERSION)
      return
    }
    blockDevice = UInt64(status.st_rdev)
    modified = 0
    guard clinux_ioctl_pointer(descriptor.raw, clinux_BLKGETSIZE64, &byteCount) == 0 else {
      throw .lastErrno(step: "get the size of", object: path)
    }
    generation = Self.number(descriptor, clinux_BLKGETDISKSEQ)
  }

  /// The state of what stands at a path now, all links followed.
  ///
  /// - Throws: `notFound`, others by errno.
  public init(ofPath path: String) throws(BlockError) {
    // Not blocking, or opening a FIFO would wait for a writer.
    try self.init(of: try Descriptor.open(path, O_RDONLY | O_NONBLOCK), path)
  }

  /// What an ioctl says; `nil` where the file system or the kernel does not know it.
  private static func number(_ descriptor: borrowing Descriptor, _ request: UInt) -> UInt64? {
    // Some file systems write 32 bits of it.
    var number: UInt64 = 0
    return clinux_ioctl_pointer(descriptor.raw, request, &number) == 0 ? number : nil
  }
}
