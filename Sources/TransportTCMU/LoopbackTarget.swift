import BlockCore
import Glibc
import LinuxIO
import SystemPackage

/// A target of the loopback fabric: it makes a SCSI disk of this host out of a backstore.
public struct LoopbackTarget: Sendable, Hashable, Codable {
  /// Its name: `naa.` and 16 characters.
  public let name: String

  /// Names a target.
  public init(name: String) {
    self.name = name
  }

  /// A disk that a target has made.
  public struct Disk: Sendable, Hashable {
    /// Its name: `sdX`.
    public let name: String
    /// Its SCSI address: `host:channel:target:lun`.
    public let address: String
    /// Its node.
    public var path: String { "/dev/\(name)" }
  }

  var directory: ConfigDirectory { ConfigDirectory("\(TargetConfiguration.root)/loopback/\(name)") }
  var portGroup: ConfigDirectory { ConfigDirectory(directory("tpgt_1")) }
  private var lun: ConfigDirectory { ConfigDirectory(portGroup("lun/lun_0")) }

  private static let serverRemedy =
    "Whoever serves the backstore does not answer. Restart it; or let its commands fail: "
    + "write 1 to action/block_dev and 2 to action/reset_ring in the backstore's directory."

  /// Exports a backstore as LUN 0 and waits for the disk.
  ///
  /// Somebody must serve the backstore already: the kernel asks the new disk for its name and size. What is there of
  /// it is used, so that it may be called again after a failure.
  ///
  /// - Parameters:
  ///   - backstore: An enabled backstore.
  ///   - commandTimeout: Seconds that the SCSI layer gives a command; `nil` for its own, 30.
  ///   - deadline: How long to wait for the disk.
  /// - Returns: The disk; its node is there.
  /// - Throws: `conflict` if the target exports something else, `timedOut` if no disk appears, others by errno.
  ///   What was made is left: ``remove(_:deadline:)`` takes it apart.
  public func export(
    _ backstore: Backstore, commandTimeout: Int? = nil, deadline: Duration = .seconds(30)
  ) async throws(BlockError) -> Disk {
    try await bounded("export", deadline) { deadline throws(BlockError) in
      try ConfigDirectory("\(TargetConfiguration.root)/loopback").make()
      try directory.make()
      try portGroup.make()
      try lun.make()
      try setNexus()
      // Before the kernel begins to make it.
      let events = try DeviceEvents()
      try link(backstore)
      let disk = try waitForDisk(backstore, events, deadline)
      if let commandTimeout {
        try LinuxFileSystem.write("\(commandTimeout)", toAttribute: "/sys/block/\(disk.name)/device/timeout")
      }
      return disk
    }
  }

  /// Takes apart what was made to export a backstore, from any state that it may be in; what is not there is taken
  /// apart already, and a target that exports anything else as LUN 0 is left alone.
  ///
  /// Other LUNs and port groups are somebody else's: they stay, and so does what they stand in.
  ///
  /// The disk goes, whoever uses it. If it has a write cache, the kernel has it flushed before.
  ///
  /// - Parameters:
  ///   - backstore: What it exports.
  ///   - deadline: How long to wait for the kernel.
  /// - Throws: `timedOut`, others by errno.
  public func remove(_ backstore: Backstore, deadline: Duration = .seconds(30)) async throws(BlockError) {
    try await bounded("remove", deadline) { _ throws(BlockError) in
      guard exports(backstore) || lun.links.isEmpty else { return }
      let link = lun(backstore.name)
      guard unlink(link) == 0 || errno == ENOENT else {
        throw BlockError(errno: Errno(rawValue: errno), step: "remove", object: link)
      }
      try lun.remove()
      try portGroup.remove()
      try directory.remove()
    }
  }

  /// Whether it exports a backstore now, as LUN 0.
  ///
  /// While the kernel takes the disk away, which waits for the disk's flush, this waits, too.
  private func exports(_ backstore: Backstore) -> Bool {
    lun.link(backstore.name).flatMap(FabricLink.backstore(inTarget:)) == backstore
  }

  /// The disk that it has made; `nil` if there is none.
  ///
  /// It does not wait, also while the kernel takes the disk away.
  public var disk: Disk? {
    guard let address = portGroup.read("address") else { return nil }
    let device = "\(address):0"
    // The queue comes last. Until the kernel has made the disk's node, nobody else must: it would not take that
    // one away with the disk.
    guard let name = SmallFile.entries("/sys/class/scsi_device/\(device)/device/block").first,
      access("/sys/class/block/\(name)/queue", F_OK) == 0
    else { return nil }
    return Disk(name: name, address: device)
  }

  private func bounded<Value: Sendable>(
    _ step: String, _ time: Duration,
    _ body: @escaping @Sendable (BoundedStep.Deadline) throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    try await BoundedStep.run(
      .init(time: time, step: step, object: "loopback target \(name)", remedy: Self.serverRemedy), body)
  }

  private func setNexus() throws(BlockError) {
    // An existing one is kept, and reading one that is not there is an error.
    if portGroup.read("nexus") != nil { return }
    try portGroup.write(name, to: "nexus")
  }

  private func link(_ backstore: Backstore) throws(BlockError) {
    if let present = lun.links.first {
      guard FabricLink.backstore(inTarget: present.target) == backstore else {
        throw BlockError(
          .conflict, step: "export", object: "backstore \(backstore)",
          cause: "loopback target \(name) exports something else: \(present.name)", remedy: "Use another ID.")
      }
      return
    }
    let path = lun(backstore.name)
    guard symlink(backstore.path, path) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "link \(backstore) to", object: path)
    }
  }

  /// Whether a disk is there for those who open it: sysfs shows it a moment before.
  ///
  /// - Throws: By errno.
  private static func canBeOpened(_ disk: Disk) throws(BlockError) -> Bool {
    try BlockDevice.makeNode(ofName: disk.name)
    do throws(BlockError) {
      _ = try Descriptor.open(disk.path, O_RDONLY | O_NONBLOCK)
      return true
    } catch  where error.errno == .noSuchAddressOrDevice {
      return false
    }
  }

  /// How long to wait at most until sysfs is looked at again, where events of devices do not come.
  private static let lookPause = Duration.milliseconds(250)

  private func waitForDisk(
    _ backstore: Backstore, _ events: borrowing DeviceEvents, _ deadline: BoundedStep.Deadline
  ) throws(BlockError) -> Disk {
    while true {
      if let disk, try Self.canBeOpened(disk) { return disk }
      guard !deadline.hasPassed else {
        throw BlockError(
          .timedOut, step: "wait for the disk of", object: "backstore \(backstore)",
          cause: "the kernel has made none",
          remedy: "See the kernel's log (dmesg); load the disk driver: modprobe sd_mod.")
      }
      // The disk's event comes when it can be opened. Without an address, any disk's is a reason to look.
      let place = portGroup.read("address").map { "/\($0):0/block/" } ?? "/block/"
      try events.waitForAdded(place, atMost: min(Self.lookPause, deadline.rest))
    }
  }
}
