import BlockCore
import DeviceMapper
import DiskFormats
import Hashing
import LinuxIO
import SystemPackage

/// A volume's content as a device of its own: what is behind the header.
public struct MappedVolume: Sendable, Hashable {
  /// What every name begins with; virtlet's.
  public static let namePrefix = "virtlet-dm-"
  /// What the UUID of every device of ours begins with.
  static let uuidPrefix = "ASHLAR-VOLUME-"

  /// The device's name.
  public var name: String
  /// The device's path.
  public var path: String
  /// The device's size in bytes.
  public var byteCount: UInt64
  /// The volume's device, `/dev/NAME`.
  public var volume: String
  /// What the volume says of itself.
  public var content: HeaderVolume.Content
  /// How far its content has come: as far as the volume says so, unless it was read for this map.
  public var state: HeaderVolume.Content.State
  /// Whether this engine has made it; what others have made it does not remove.
  public var isOurs: Bool
  /// Whether the name begins as volumes' names do.
  public var hasVolumeName: Bool { name.hasPrefix(Self.namePrefix) }
}

/// Mapping volumes and finding those that are mapped.
public struct VolumeMapper: Sendable {
  private let mapper: DeviceMapper
  private let clock: any HostClock
  /// How long an unmap waits for those who have the device open for a moment.
  public static let deadline = Duration.seconds(5)
  /// How long a map or unmap waits for another one of the same name.
  public static let patience = Duration.seconds(15)

  /// Makes a mapper.
  ///
  /// - Throws: `unavailable` without device-mapper.
  public init(clock: any HostClock) throws(BlockError) {
    mapper = try DeviceMapper()
    self.clock = clock
  }

  /// Checks a mapped volume's name.
  ///
  /// - Throws: `invalidArgument`, in virtlet's words.
  package static func check(_ name: String) throws(BlockError) {
    guard name.hasPrefix(MappedVolume.namePrefix), name.utf8.count > MappedVolume.namePrefix.utf8.count else {
      throw BlockError(
        .invalidArgument, step: "use the name", object: name,
        cause: "bad logical device name \"\(name)\": must have prefix \(MappedVolume.namePrefix)")
    }
    guard name.utf8.count <= Limits.deviceMapperNameBytes else {
      throw BlockError(
        .invalidArgument, step: "use the name", object: name,
        cause: "it has \(name.utf8.count) bytes, and a device-mapper device's has at most "
          + "\(Limits.deviceMapperNameBytes)",
        remedy: "Choose a shorter one.")
    }
  }

  /// The same for a name that a device is to get.
  ///
  /// - Throws: `invalidArgument` also for one that libdevmapper would not leave as it is.
  static func checkNew(_ name: String) throws(BlockError) {
    try check(name)
    try DeviceMapper.check(name)
  }

  /// Makes a device of a volume's content.
  ///
  /// - Parameters:
  ///   - name: `virtlet-dm-…`.
  ///   - volume: The volume; a block device.
  ///   - isUnconfirmedTaken: Whether a volume will do whose content nobody has read; otherwise it is read.
  /// - Returns: The device; one that is there already for that volume is the answer, too.
  /// - Throws: `invalidArgument` for a bad name, `corrupt` for a content that is not whole, `unsupported` for a later
  ///   version, `conflict` for a name that is taken, `busy` if somebody else is making or removing that device for long,
  ///   others by errno.
  public func map(
    _ name: String, _ volume: HeaderVolume, isUnconfirmedTaken: Bool = true
  ) async throws(BlockError) -> MappedVolume {
    try Self.checkNew(name)
    guard volume.isBlockDevice else {
      throw BlockError(
        .invalidArgument, step: "map", object: volume.path, cause: "it is a file, and no block device",
        remedy: "Attach it first: losetup --find --show \(volume.path).")
    }
    // Nobody formats it until the device stands on it.
    let file = try await volume.alone(for: .sharedReadWrite)
    defer { withExtendedLifetime(file) {} }
    let content = try await HeaderVolume.content(of: file)
    if content.isNoteStale { try await volume.removeStaleNote(from: file) }
    let state = isUnconfirmedTaken ? content.state : try await volume.examined(content, file)
    let layout = try Self.layout(of: content, state, volume, isUnconfirmedTaken)
    let numbers = try BlockDevice.numbers(ofNode: volume.path)
    let start = layout.contentOffset / 512
    let sectors = volume.byteCount / 512
    if !content.isNoteStale, let imageByteCount = content.record?.imageByteCount {
      try volume.checkSize(forImageOf: imageByteCount, layout)
    }
    guard sectors > start else { throw Self.tooSmall(volume, start) }
    let turn = try await DeviceMapper.turn(at: name, within: Self.patience, clock: clock)
    defer { withExtendedLifetime(turn) {} }
    if var found = try Self.mapped(name, numbers, of: try await list()) {
      found.state = state
      return found
    }
    let uuid = try Self.uuid(of: name)
    let made: MappedDevice
    if layout.contentOffset % UInt64(volume.sectorByteCount) != 0 {
      // The kernel refuses a table that begins within a block; a loop device in between can do it.
      let below = try Descriptor.open(volume.path, 2)
      let loop = try LoopDevice.attach(
        below,
        .init(
          isReadOnly: false, blockSize: 512, label: uuid, offset: layout.contentOffset, checksDirectIO: true))
      made = try mapper.create(
        name, uuid: uuid, Table(sectors: sectors - start, .linear(try loop.numbers(), start: 0)))
    } else {
      made = try mapper.create(
        name, uuid: uuid, Table(sectors: sectors - start, .linear(numbers, start: start)))
    }
    var mapped = Self.described(made, volume.path, content, sectors - start)
    mapped.state = state
    return mapped
  }

  /// The UUID of a device of ours: with its name where that fits, and else with the name's digest.
  ///
  /// - Throws: If digests cannot be computed.
  package static func uuid(of name: String) throws(BlockError) -> String {
    let uuid = MappedVolume.uuidPrefix + name.dropFirst(MappedVolume.namePrefix.count)
    if uuid.utf8.count <= Limits.deviceMapperUUIDBytes { return uuid }
    return "\(MappedVolume.uuidPrefix)\(try SHA256.digest(of: Array(name.utf8).span.bytes))"
  }

  /// Of the mapped volumes, the device of that name, if it is ours and on that volume.
  ///
  /// - Throws: `conflict` if it is not, or if the volume is mapped by another name: two would write to one content.
  private static func mapped(
    _ name: String, _ numbers: DeviceNumbers, of all: [MappedVolume]
  ) throws(BlockError) -> MappedVolume? {
    func conflict(_ cause: String, _ remedy: String) -> BlockError {
      BlockError(.conflict, step: "map", object: name, cause: cause, remedy: remedy)
    }
    if let there = all.first(where: { $0.name == name }) {
      guard there.isOurs, try BlockDevice.numbers(ofNode: there.volume) == numbers else {
        throw conflict("there is a device of that name on \(there.volume)", "Choose another name.")
      }
      return there
    }
    for other in all where try BlockDevice.numbers(ofNode: other.volume) == numbers {
      throw conflict(
        "\(other.volume) is mapped already: \(other.path)", "Use that device, or unmap it first.")
    }
    return nil
  }

  private static func described(
    _ device: MappedDevice, _ volume: String, _ content: HeaderVolume.Content, _ sectors: UInt64
  ) -> MappedVolume {
    MappedVolume(
      name: device.name, path: device.path, byteCount: sectors * 512, volume: volume, content: content,
      state: content.state, isOurs: device.uuid.hasPrefix(MappedVolume.uuidPrefix))
  }

  private static func tooSmall(_ volume: HeaderVolume, _ start: UInt64) -> BlockError {
    BlockError(
      .noSpace, step: "map", object: volume.path,
      cause: "it has \(volume.byteCount / 512) sectors, and its content begins at sector \(start)")
  }

  private static func layout(
    of content: HeaderVolume.Content, _ state: HeaderVolume.Content.State, _ volume: HeaderVolume,
    _ isUnconfirmedTaken: Bool
  ) throws(BlockError) -> VolumeRecord.Layout {
    func refuse(_ kind: BlockError.Kind, _ cause: String, _ remedy: String) -> BlockError {
      BlockError(kind, step: "map", object: volume.path, cause: cause, remedy: remedy)
    }
    switch state {
    case .written, .complete: return content.layout
    case .changed:
      throw refuse(
        .corrupt, "its content is not the image's any more, or never was",
        "Map it without --confirmed if that is meant, or write the image again: ashlar volume format --force."
      )
    case .unconfirmed where isUnconfirmedTaken: return .sector
    case .unconfirmed:
      throw refuse(
        .corrupt, "nobody has confirmed that its content is whole",
        "Format it with the same image; that reads it and confirms it if it is whole.")
    case .incomplete:
      throw refuse(.corrupt, "writing its image was interrupted", "Format it again.")
    case .unsupportedVersion(let version):
      throw refuse(
        .unsupported, "unsupported virtlet root device metadata version \(version)",
        "Use the tool that has written it.")
    case .none: throw refuse(.notFound, "it has no volume header", "Format it first.")
    }
  }

  /// Takes a mapped volume apart; one that is not there is apart already.
  ///
  /// - Parameters:
  ///   - name: The device's name.
  ///   - isForced: Whether a device goes that this engine has not made, if it is one of a volume.
  /// - Throws: `conflict` for somebody else's device, `busy` with who uses it, or if somebody else is making or removing
  ///   it for long.
  public func unmap(_ name: String, isForced: Bool = false) async throws(BlockError) {
    try Self.check(name)
    let turn = try await DeviceMapper.turn(at: name, within: Self.patience, clock: clock)
    defer { withExtendedLifetime(turn) {} }
    guard let device = try mapper.info(.name(name)) else { return }
    if !device.uuid.hasPrefix(MappedVolume.uuidPrefix) {
      let isVolume = try await list().contains { $0.name == name }
      guard isForced, isVolume else {
        throw BlockError(
          .conflict, step: "unmap", object: name, cause: "another program has made it",
          remedy: isVolume ? "Take it apart all the same with --force." : "Use that program.")
      }
      try await mapper.remove(.name(name), within: Self.deadline, clock: clock)
      return
    }
    try await mapper.remove(.uuid(device.uuid), within: Self.deadline, clock: clock)
  }

  /// The devices of one linear target on a volume with a header or with our note, in the order of the kernel's list.
  ///
  /// - Throws: By errno; a device that cannot be looked at is left out.
  public func list() async throws(BlockError) -> [MappedVolume] {
    var found: [MappedVolume] = []
    try mapper.tidyNames()
    for (name, _) in try mapper.list() {
      guard let device = try mapper.info(.name(name)), device.hasTable,
        let table = try? mapper.table(of: .name(name)), table.lines.count == 1,
        case .linear(let numbers, _) = table.lines[0].target, let below = Self.diskName(numbers)
      else { continue }
      let path = Self.volumePath(below)
      // Whatever stands on this host is looked at: a disk of somebody else's that does not answer is left out, too.
      let looked = try? await Self.looks.look(
        at: path, step: "look at", object: path, within: Limits.neighbourLookTime
      ) { () async throws(BlockError) in
        let volume = try HeaderVolume(path)
        return (volume.path, try await volume.content())
      }
      guard let (place, content) = looked else { continue }
      if case .none = content.state { continue }
      found.append(Self.described(device, place, content, table.sectorCount))
    }
    return found
  }

  private static let looks = FileLooks(clock: LinuxClock())

  private static func diskName(_ numbers: DeviceNumbers) -> String? {
    SmallFile.text("/sys/dev/block/\(numbers)/uevent")?.split(separator: "\n")
      .first { $0.hasPrefix("DEVNAME=") }.map { String($0.dropFirst("DEVNAME=".count)) }
  }

  /// The volume beneath a loop device that stands only for its shifted beginning, or the disk itself.
  private static func volumePath(_ disk: String) -> String {
    guard BlockDevice.attribute("loop/offset", of: disk) == "512",
      let file = BlockDevice.attribute("loop/backing_file", of: disk), file.hasPrefix("/dev/")
    else { return "/dev/\(disk)" }
    return file
  }
}
