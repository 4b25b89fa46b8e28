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

  @Option(name: .shortAndLong, help: "Options for the file system, comma-separated.")
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
    // As for mount and inspect, what is attached comes first; its link tells, so that a directory needs no manager.
    let files = LinuxFileSystem()
    if try files.kind(of: target) != nil {
      guard let id = try? AttachmentID(target), try files.kind(of: instance.directories.link(id)) != nil
      else {
        return try unmountDirectory()
      }
    }
    let id = try AttachmentID(target)
    let info: AttachmentInfo = try await instance.withManager { client async throws(BlockError) in
      try await client.call(.get, "/v1/attachments/\(id.escapedInURL)")
    }
    guard let device = info.device else { return }
    for mount in try Partition.mounts(of: device) {
      guard mount.isPathExact else { throw ProgramText.notUTF8(mount.mountPoint) }
      try Mount.unmount(mount.mountPoint)
    }
  }

  private func unmountDirectory() throws(BlockError) {
    try Mount.unmount(try LinuxFileSystem().resolve(target))
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
    var value: UnsafePointer<CChar>?
    guard blkid_do_safeprobe(probe) == 0, blkid_probe_lookup_value(probe, "TYPE", &value, nil) == 0, let value
    else {
      throw BlockError(
        .unsupported, step: "recognise the file system on", object: device,
        cause: "libblkid finds none, or more than one",
        remedy: "Name it with --fs; if the disk has partitions, name one with --partition.")
    }
    return String(cString: value)
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
