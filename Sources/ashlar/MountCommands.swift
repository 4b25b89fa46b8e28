import ArgumentParser
import Attachments
import BlockCore
import CBlkid
import CLinux
import ControlClient
import FoundationEssentials
import Glibc
import LinuxIO
import SystemPackage

/// `ashlar mount`.
struct MountCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount", abstract: "Mount an attached device.")

  @OptionGroup var instance: InstanceOptions

  @Argument(help: "What is attached.")
  var id: String

  @Argument(help: "The directory to mount it at.")
  var directory: String

  @Option(help: "Which partition of it; the whole device without.")
  var partition: Int?

  @Option(name: .customLong("fs"), help: "The file system's type; found out without.")
  var type: String?

  @Option(name: .shortAndLong, help: "Options as mount(8) takes them, comma-separated.")
  var options = ""

  @Flag(help: "Mount it read-only.")
  var readOnly = false

  func validate() throws {
    if let partition, !(1...128).contains(partition) {
      throw ValidationError("A partition has a number from 1 to 128.")
    }
  }

  func run() async throws {
    let id = try AttachmentID(id)
    let info: AttachmentInfo = try await instance.withManager { client async throws(BlockError) in
      try await client.call(.get, "/v1/attachments/\(id.escapedInURL)")
    }
    guard info.state == .attached, let disk = info.device else {
      throw BlockError(
        .unavailable, step: "mount", object: id.text, cause: "it is \(info.state.rawValue)",
        remedy: "Attach it first, or detach it and attach it again.")
    }
    let device = if let partition { try await Partition.node(number: partition, of: disk) } else { disk }
    let type = try type ?? FileSystemProbe.type(of: device)
    let path = try LinuxFileSystem().resolve(directory)
    guard try LinuxFileSystem().kind(of: path) == .directory else {
      throw BlockError(
        .invalidArgument, step: "mount", object: "\(device) at \(path)", cause: "that is no directory",
        remedy: "Name a directory.")
    }
    try Mount.mount(device, at: path, type: type, isReadOnly: readOnly || info.readOnly, options: options)
  }
}

/// `ashlar umount`.
struct UnmountCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount",
    abstract: "Unmount a directory, or everything that an attached device is mounted at.")

  @OptionGroup var instance: InstanceOptions

  @Argument(help: "The directory, or what is attached.")
  var target: String

  func run() async throws {
    // An ID holds no slash, so ./ID always means the directory.
    if target.contains("/") { return try unmountDirectory() }
    guard isDirectory else { return try unmountMounts(of: try await attached(try AttachmentID(target))) }
    // What is attached comes first; its link tells, so that a directory needs no manager.
    guard let id = try? AttachmentID(target),
      try LinuxFileSystem().kind(of: instance.directories.link(id)) != nil
    else {
      return try unmountDirectory()
    }
    try unmountMounts(of: try await attached(id))
  }

  private var isDirectory: Bool {
    var status = stat()
    return stat(target, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  private func unmountDirectory() throws(BlockError) {
    try Mount.unmount(try LinuxFileSystem().resolve(target))
  }

  private func attached(_ id: AttachmentID) async throws(BlockError) -> AttachmentInfo {
    try await instance.withManager { client async throws(BlockError) in
      try await client.call(.get, "/v1/attachments/\(id.escapedInURL)")
    }
  }

  private func unmountMounts(of info: AttachmentInfo) throws(BlockError) {
    var mounts: [Mount] = []
    if let device = info.device { mounts = try Partition.mounts(of: device) }
    guard !mounts.isEmpty else {
      let elsewhere = info.mounts.map(\.directory).joined(separator: ", ")
      throw BlockError(
        .notFound, step: "unmount", object: info.id.text,
        cause: elsewhere.isEmpty
          ? "it is not mounted here" : "it is not mounted here; the manager sees it mounted at \(elsewhere)",
        remedy: isDirectory
          ? "For the directory of that name, write ./\(target)." : "See what is mounted: ashlar ls.")
    }
    for mount in mounts {
      guard mount.isPathExact else { throw ProgramText.notUTF8(mount.mountPoint) }
      try Mount.unmount(mount.mountPoint)
    }
  }
}

/// The partitions of a disk.
enum Partition {
  private static let deadline = Duration.seconds(2)

  /// The node of a partition, for which the kernel looks only now.
  static func node(number: Int, of disk: String) async throws(BlockError) -> String {
    let name = BlockDevice.partitionName(number, of: String(disk.dropFirst("/dev/".count)))
    let path = "/dev/\(name)"
    if !isKnown(name), LoopDevice.isLoop(disk) { try LoopDevice.scanPartitions(of: disk) }
    if !isKnown(name) {
      // Not every kernel reads every kind of table.
      guard let range = try FileSystemProbe.partition(number, of: disk) else {
        throw BlockError(
          .notFound, step: "find", object: path, cause: "there is no partition \(number) on \(disk)",
          remedy: "See what is there: fdisk -l \(disk).")
      }
      try BlockDevice.addPartition(number, at: range, of: disk)
    }
    try await waitForNode(path, name)
    return path
  }

  private static func isKnown(_ name: String) -> Bool { access("/sys/class/block/\(name)", F_OK) == 0 }

  /// Whoever manages `/dev` is given the time to show a new partition.
  private static func waitForNode(_ path: String, _ name: String) async throws(BlockError) {
    let clock = LinuxClock()
    let end = clock.now + deadline
    while access(path, F_OK) != 0 {
      guard clock.now < end else { return try BlockDevice.makeNode(ofName: name) }
      do {
        try await clock.sleep(for: .milliseconds(10))
      } catch {
        throw BlockError(.cancelled, step: "find", object: path, cause: "the command was called off")
      }
    }
  }

  /// Where a disk and its partitions are mounted, in the order in which they can be unmounted.
  static func mounts(of disk: String) throws(BlockError) -> [Mount] {
    var numbers: Set<DeviceNumbers> = [try BlockDevice.numbers(ofNode: disk)]
    let name = String(disk.dropFirst("/dev/".count))
    for partition in BlockDevice.partitions(of: name) {
      if let text = SmallFile.text("/sys/class/block/\(partition)/dev"), let pair = DeviceNumbers(text) {
        numbers.insert(pair)
      }
    }
    return MountedDevices(numbers).mounts(in: Mount.all()).reversed()
  }
}

/// Finding out which file system a device holds, by libblkid.
enum FileSystemProbe {
  /// The file system's type, as mount(2) wants it.
  static func type(of device: String) throws(BlockError) -> String {
    guard let probe = blkid_new_probe_from_filename(device) else {
      throw BlockError(errno: Errno(rawValue: errno), step: "open", object: device)
    }
    defer { blkid_free_probe(probe) }
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE)
    guard blkid_do_safeprobe(probe) == 0, let type = value("TYPE", probe) else {
      throw BlockError(
        .unsupported, step: "recognise the file system on", object: device,
        cause: "libblkid finds none, or more than one",
        remedy: "Name it with --fs; if the disk has partitions, name one with --partition.")
    }
    guard let usage = value("USAGE", probe), usage != "filesystem" else { return type }
    throw refusal(of: type, usage, on: device)
  }

  private static func value(_ name: String, _ probe: blkid_probe) -> String? {
    var value: UnsafePointer<CChar>?
    guard blkid_probe_lookup_value(probe, name, &value, nil) == 0, let value else { return nil }
    return String(cString: value)
  }

  /// What to say of something that libblkid knows and nobody can mount.
  private static func refusal(of type: String, _ usage: String, on device: String) -> BlockError {
    let (what, remedy) =
      switch (type, usage) {
      case ("swap", _), ("swsuspend", _): ("swap space", "Use it with: swapon \(device).")
      case ("LVM2_member", _), ("LVM1_member", _):
        ("an LVM physical volume", "Activate its volumes, and mount one of them: vgchange -ay.")
      case (_, "crypto"):
        ("encrypted (\(type))", "Open it, and mount what appears: cryptsetup open \(device) NAME.")
      case (_, "raid"):
        ("a member of a RAID (\(type))", "Assemble it, and mount what appears: mdadm --assemble --scan.")
      default: (type, "Name a file system's type with --fs if it is one all the same.")
      }
    return BlockError(
      .unsupported, step: "mount", object: device, cause: "that is no file system: it is \(what)",
      remedy: remedy)
  }

  /// Where a partition is on a disk, in bytes; `nil` if there is none of that number.
  static func partition(_ number: Int, of disk: String) throws(BlockError) -> Range<UInt64>? {
    guard let probe = blkid_new_probe_from_filename(disk) else {
      throw BlockError(errno: Errno(rawValue: errno), step: "open", object: disk)
    }
    defer { blkid_free_probe(probe) }
    guard let list = blkid_probe_get_partitions(probe),
      let partition = blkid_partlist_get_partition_by_partno(list, Int32(number)),
      let start = UInt64(exactly: blkid_partition_get_start(partition)),
      let count = UInt64(exactly: blkid_partition_get_size(partition)), count > 0
    else { return nil }
    let lower = start.multipliedReportingOverflow(by: VolumeGeometry.sectorSize)
    let length = count.multipliedReportingOverflow(by: VolumeGeometry.sectorSize)
    let upper = lower.partialValue.addingReportingOverflow(length.partialValue)
    guard !lower.overflow, !length.overflow, !upper.overflow, upper.partialValue <= UInt64(Int64.max) else {
      return nil
    }
    return lower.partialValue..<upper.partialValue
  }
}
