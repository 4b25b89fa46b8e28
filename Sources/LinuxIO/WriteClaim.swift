import BlockCore
import CLinux
import Glibc
import SystemPackage

/// That nobody else writes to what we write to, through whatever name or device.
///
/// * A block device is opened with `O_EXCL`, as mkfs(8), device-mapper and the kernel's own targets do: what is mounted,
///   or part of another device, is refused, and refuses them afterwards.
/// * A file is locked (``AdvisoryLock``).
/// * What a loop device shows is claimed likewise: the file counts as the disk, and the disk as the file.
/// * Loop devices over the same bytes are looked for, since they claim nothing: one that takes writes, or is mounted, is
///   somebody who writes.
///
/// The claim is taken first and others are looked for afterwards: of two who come at the same time at most one goes on.
/// A loop device that is set up later is not kept away; the kernel has nothing for that.
struct WriteClaim: Sendable {
  /// An owner that a collection can hold.
  private final class Held: Sendable {
    let descriptor: Descriptor
    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
  }

  private var held: [Held] = []
  /// What a user should know of it.
  private(set) var notices: [String] = []

  /// Claims an open file or block device.
  ///
  /// - Parameters:
  ///   - descriptor: It, open for writing; a block device that is not shared, as ``exclusive(_:_:)`` opens it.
  ///   - path: What it is called.
  ///   - status: What stat(2) says of it.
  ///   - isShared: Whether mounts, other devices and loop devices are put up with; locks are not.
  /// - Throws: `busy` with who is in the way; others by errno.
  init(
    of descriptor: borrowing Descriptor, _ path: String, _ status: stat, isShared: Bool
  ) throws(BlockError) {
    try lock(descriptor, path)
    try noteOverlay(descriptor, path)
    let stack = try StorageStack(beneath: status)
    for loop in stack.shown { try claim(loop, of: path, isShared: isShared) }
    if isShared { return }
    let (others, unasked) = stack.otherLoops(onlyWriters: false)
    notices += unasked
    guard others.isEmpty else { throw Self.busy(path, Self.described(others), Self.remedy(others)) }
  }

  /// Opens a block device anew, for ourselves alone.
  ///
  /// What is zeroed or trimmed must be so through this open file: through another one beside it the kernel cannot drop
  /// the pages of what was just written, and answers EBUSY (block/bdev.c: `truncate_bdev_range`).
  ///
  /// - Throws: `busy` with who has it; others by errno.
  static func exclusive(
    _ descriptor: borrowing Descriptor, _ path: String
  ) throws(BlockError) -> Descriptor {
    try exclude(path, "/proc/self/fd/\(descriptor.raw)", O_RDWR)
  }

  /// Takes a block device for ourselves (open(2): `O_EXCL` without `O_CREAT`).
  private static func exclude(
    _ path: String, _ node: String, _ access: Int32
  ) throws(BlockError) -> Descriptor {
    do throws(BlockError) {
      return try Descriptor.open(node, access | O_EXCL | O_NONBLOCK)
    } catch  where error.errno == .resourceBusy {
      throw busy(
        path,
        BlockDevice.claimants(of: path) ?? "somebody has it for himself alone, as one who mounts it does",
        "Unmount it, or take that device apart")
    }
  }

  /// Claims what a loop device beneath shows.
  private mutating func claim(
    _ loop: LoopDevice.Shown, of path: String, isShared: Bool
  ) throws(BlockError) {
    if loop.status.device != nil {
      if !isShared { held.append(Held(try Self.exclude(loop.backing, loop.backing, O_RDONLY))) }
      return
    }
    do throws(BlockError) {
      let access = loop.status.isReadOnly ? O_RDONLY : O_RDWR
      let file = try Descriptor.open(loop.backing, access | O_NONBLOCK)
      var found = stat()
      guard fstat(file.raw, &found) == 0,
        FileIdentity(device: UInt64(found.st_dev), inode: UInt64(found.st_ino)) == loop.status.file
      else { return try checkLockTable(loop, path) }
      guard case .refused = try AdvisoryLock.take(file, loop.backing) else {
        return held.append(Held(file))
      }
    } catch  where [.notFound, .permissionDenied, .readOnly].contains(error.kind) {
      // Renamed, deleted, or of another mount namespace.
      return try checkLockTable(loop, path)
    }
    throw Self.inUse(loop, path)
  }

  /// Looks for a lock of a file that no path of ours leads to, as far as the kernel's list tells (proc_locks(5)).
  private func checkLockTable(_ loop: LoopDevice.Shown, _ path: String) throws(BlockError) {
    let device = dev_t(loop.status.file.device)
    let numbers = (clinux_major(device), clinux_minor(device))
    for line in (SmallFile.text("/proc/locks", limit: 64 << 20) ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count >= 6, ["FLOCK", "OFDLCK"].contains(fields[1]) else { continue }
      let file = fields[5].split(separator: ":")
      guard file.count == 3, let major = UInt32(file[0], radix: 16), let minor = UInt32(file[1], radix: 16),
        (major, minor) == numbers, UInt64(file[2]) == loop.status.file.inode
      else { continue }
      throw Self.inUse(loop, path)
    }
  }

  /// Says so of a file of overlayfs, which has locks and inodes of its own: what its path in the upper directory is
  /// claimed by, does not show there.
  private mutating func noteOverlay(
    _ descriptor: borrowing Descriptor, _ path: String
  ) throws(BlockError) {
    var status = statfs()
    guard fstatfs(descriptor.raw, &status) == 0 else {
      throw .lastErrno(step: "look at the file system of", object: path)
    }
    // OVERLAYFS_SUPER_MAGIC (linux/magic.h).
    guard UInt32(truncatingIfNeeded: status.f_type) == 0x794C_7630 else { return }
    notices.append(
      "\(path): it is on overlayfs, and nothing keeps others from writing to it through the upper directory")
  }

  /// Locks a file, or the node of a device: udev, and whoever formats, heed that.
  private mutating func lock(_ descriptor: borrowing Descriptor, _ path: String) throws(BlockError) {
    switch try AdvisoryLock.take(descriptor, path) {
    case .held: break
    case .weak(let notice): notices.append(notice)
    case .refused:
      throw BlockError(
        .busy, step: "open", object: path, cause: "somebody else has it open for writing, and has locked it",
        remedy: "Detach it there; ashlar attach can also read it, with --read-only.", errno: .resourceBusy)
    }
  }

  // MARK: Words

  private static func busy(_ path: String, _ cause: String, _ remedy: String) -> BlockError {
    BlockError(
      .busy, step: "open for writing", object: path, cause: cause,
      remedy:
        "\(remedy). ashlar attach can also read it, with --read-only; or write beside those who know of it, "
        + "with --shared.",
      errno: .resourceBusy)
  }

  private static func inUse(_ loop: LoopDevice.Shown, _ path: String) -> BlockError {
    BlockError(
      .busy, step: "open for writing", object: path,
      cause: "\(loop.path) shows \(loop.backing), which somebody uses and has locked",
      remedy: "Detach it there; ashlar attach can also read it, with --read-only.", errno: .resourceBusy)
  }

  private static func described(_ loops: [LoopDevice.Shown]) -> String {
    "somebody can write to it, or has mounted it, through \(loops.map(\.path).joined(separator: ", "))"
  }

  private static func remedy(_ loops: [LoopDevice.Shown]) -> String {
    "Unmount and detach it there: losetup -d \(loops.map(\.path).joined(separator: " "))"
  }
}

extension BlockDevice {
  /// Who has a device, or a partition of it, for himself, in words; `nil` if that cannot be seen.
  static func claimants(of path: String) -> String? {
    guard let numbers = try? numbers(ofNode: path), let name = name(of: numbers) else { return nil }
    let names = [name] + partitions(of: name)
    let devices = Set(names.compactMap { Self.numbers(of: $0) })
    let mounts = MountedDevices(devices).mounts(in: Mount.all()).map(\.mountPoint)
    let holders = names.flatMap { SmallFile.entries("/sys/class/block/\($0)/holders") }
    var parts: [String] = []
    if !mounts.isEmpty { parts.append("it is mounted at \(mounts.joined(separator: ", "))") }
    if !holders.isEmpty {
      parts.append("it is part of \(holders.map { "/dev/\($0)" }.joined(separator: ", "))")
    }
    return parts.isEmpty ? nil : parts.joined(separator: ", and ")
  }
}
