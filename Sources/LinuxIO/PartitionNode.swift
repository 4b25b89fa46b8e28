import BlockCore
import CLinux
import Glibc

extension BlockDevice {
  /// Tells the kernel of a partition that it has not found by itself: because it cannot read tables of that
  /// kind, or any (`BLKPG_ADD_PARTITION`).
  ///
  /// - Parameters:
  ///   - number: The partition's number.
  ///   - range: Where it is on the disk, in bytes; multiples of 512.
  ///   - path: The disk.
  /// - Throws: By errno; `busy` if it overlaps another one.
  public static func addPartition(_ number: Int, at range: Range<UInt64>, of path: String) throws(BlockError)
  {
    let disk = try Descriptor.open(path, O_RDONLY)
    var partition = blkpg_partition()
    partition.start = Int64(range.lowerBound)
    partition.length = Int64(range.upperBound - range.lowerBound)
    partition.pno = Int32(number)
    let status = withUnsafeMutablePointer(to: &partition) { partition in
      var argument = blkpg_ioctl_arg()
      argument.op = BLKPG_ADD_PARTITION
      argument.datalen = Int32(MemoryLayout<blkpg_partition>.size)
      argument.data = UnsafeMutableRawPointer(partition)
      return clinux_ioctl_pointer(disk.raw, clinux_BLKPG, &argument)
    }
    guard status == 0 else { throw .lastErrno(step: "add partition \(number) to", object: path) }
  }

  /// Makes the node of a partition where `/dev` lacks it, as in a container with a `/dev` of its own.
  ///
  /// - Throws: `notFound` if the kernel has no such partition, others by errno.
  public static func makeNode(ofName name: String) throws(BlockError) {
    let device = try numbers(ofName: name)
    try makeNode(
      at: "/dev/\(name)", DeviceNumbers(major: clinux_major(device), minor: clinux_minor(device)))
  }

  /// Makes a node for a block device; that one is there already is no error.
  ///
  /// - Throws: By errno.
  public static func makeNode(at path: String, _ numbers: DeviceNumbers) throws(BlockError) {
    guard mknod(path, S_IFBLK | 0o660, clinux_makedev(numbers.major, numbers.minor)) == 0 || errno == EEXIST
    else {
      throw .lastErrno(
        step: "make the missing node", object: path,
        remedy: "Make it: mknod \(path) b \(numbers.major) \(numbers.minor).")
    }
  }
}
