import BlockCore
import CDevMapper
import Glibc
import LinuxIO
import SystemPackage

/// How udev is to treat our devices, in the upper half of the event number of a call.
///
/// Without a cookie in the lower half no semaphore of ours is left in the system if we die. What the flags forbid: the
/// looks of blkid and of other rules into the device, which would hold it open when it is to go. The link in
/// `/dev/mapper` is udev's to make and to remove. Where no udev runs, they have no effect.
enum UdevFlags {
  static let all =
    UInt32(
      DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG
        | DM_UDEV_DISABLE_OTHER_RULES_FLAG | DM_UDEV_DISABLE_LIBRARY_FALLBACK | DM_UDEV_PRIMARY_SOURCE_FLAG)
    << UInt32(DM_UDEV_FLAGS_SHIFT)
}

extension DeviceMapper {
  /// How a device is to be suspended.
  public struct SuspendOptions: OptionSet, Sendable {
    /// The flags of the ioctl.
    public let rawValue: Int32

    /// Makes a set of the flags of the ioctl.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// Keep back what is queued rather than wait until it is written.
    public static let withoutFlush = SuspendOptions(rawValue: DM_NOFLUSH_FLAG)
    /// Leave a file system on the device as it is rather than freeze it.
    public static let withoutFreeze = SuspendOptions(rawValue: DM_SKIP_LOCKFS_FLAG)
  }

  /// Makes a device with a table, usable when this returns, with its name in `/dev/mapper`.
  ///
  /// If it fails, nothing is left.
  ///
  /// - Parameters:
  ///   - name: 1 to 127 of the characters that libdevmapper leaves as they are (``check(_:limit:)``).
  ///   - uuid: 1 to 128 of these, that no other device has.
  ///   - table: What it is made of.
  ///   - isReadOnly: Whether writes are refused.
  /// - Throws: `conflict` if name or UUID is taken, or if somebody removes it meanwhile; what the kernel says of the
  ///   table with its words.
  public func create(
    _ name: String, uuid: String, _ table: Table, isReadOnly: Bool = false
  ) throws(BlockError) -> MappedDevice {
    try Self.check(name, limit: Int(DM_NAME_LEN) - 1)
    try Self.check(uuid, limit: Int(DM_UUID_LEN) - 1)
    // The device may get a number that a name of one that is gone still means.
    try tidyNames()
    var request = Request(.name(name))
    request.uuid = uuid
    do {
      _ = try call(cdm_DEV_CREATE, request, step: "create", object: name)
    } catch  where error.errno == .resourceBusy {
      throw BlockError(
        .conflict, step: "create", object: name,
        cause: "there is a device of that name or UUID already",
        remedy: "Choose another name, or remove that device: dmsetup info \(name).", errno: error.errno)
    }
    do {
      try load(table, into: .uuid(uuid), isReadOnly: isReadOnly)
      var device = try resume(.uuid(uuid))
      device.name = name
      try show(name, device.numbers)
      return device
    } catch {
      do {
        try remove(.uuid(uuid))
      } catch let further where further.errno == .noSuchAddressOrDevice {
        throw BlockError(
          .conflict, step: "create", object: name, cause: "somebody has removed it before it was usable",
          remedy: "Try again.", errno: error.errno)
      } catch let further {
        throw error.aggravated(by: further, while: "removing what was made of it")
      }
      throw error
    }
  }

  /// Checks a name or UUID before a device gets it.
  ///
  /// The kernel takes nearly anything. libdevmapper writes what is not on its list as `\x20`, and every call of dmsetup
  /// that lists devices fails as long as there is one that is not written so.
  ///
  /// - Throws: `invalidArgument` unless it has 1 to `limit` letters and digits of ASCII and `#+-.:=@_`.
  public static func check(_ text: String, limit: Int = Int(DM_NAME_LEN) - 1) throws(BlockError) {
    guard (1...limit).contains(text.utf8.count), text.utf8.allSatisfy(isPlain), text != ".", text != ".."
    else {
      let shown = text.unicodeScalars.prefix(limit).map {
        $0.properties.generalCategory == .control ? "?" : "\($0)"
      }
      throw BlockError(
        .invalidArgument, step: "use the device-mapper name", object: "\"\(shown.joined())\"",
        cause: "it must have 1 to \(limit) bytes, and of these only letters and digits of ASCII and #+-.:=@_",
        remedy: "Choose another name; dmsetup cannot list devices as long as one has other characters.")
    }
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "#+-.:=@_".utf8.contains(byte)
    }
  }

  /// Gives a device a table that works from the next ``resume(_:)`` on.
  ///
  /// - Throws: By errno, with what the kernel's log says of it.
  public func load(
    _ table: Table, into device: DeviceReference, isReadOnly: Bool = false
  ) throws(BlockError) {
    var request = Request(device, flags: isReadOnly ? DM_READONLY_FLAG : 0)
    request.payload = try table.encoded()
    request.targetCount = UInt32(table.lines.count)
    let log = try KernelLog()
    do {
      _ = try call(cdm_TABLE_LOAD, request, step: "load a table into", object: device.description)
    } catch {
      throw log.explained(error)
    }
  }

  /// Throws away a table that waits for the next resume.
  public func clear(_ device: DeviceReference) throws(BlockError) {
    _ = try call(cdm_TABLE_CLEAR, Request(device), step: "clear the table of", object: device.description)
  }

  /// Lets requests through again, by the table that was loaded last.
  ///
  /// - Returns: The device as it is now.
  /// - Throws: By errno, with what the kernel's log says of it.
  @discardableResult
  public func resume(_ device: DeviceReference) throws(BlockError) -> MappedDevice {
    var request = Request(device)
    request.eventNumber = UdevFlags.all
    let log = try KernelLog()
    do {
      return try call(cdm_DEV_SUSPEND, request, step: "resume", object: device.description).device
    } catch {
      throw log.explained(error)
    }
  }

  /// Holds back requests; waits until those on their way are done and a file system on it is consistent.
  ///
  /// It waits on the calling thread, for as long as the storage below takes.
  ///
  /// - Throws: By errno.
  public func suspend(_ device: DeviceReference, _ options: SuspendOptions = []) throws(BlockError) {
    _ = try call(
      cdm_DEV_SUSPEND, Request(device, flags: DM_SUSPEND_FLAG | options.rawValue), step: "suspend",
      object: device.description)
  }

  /// Replaces the table of a device, with its requests held back meanwhile.
  ///
  /// - Throws: By errno; the device goes on by its old table then.
  public func replaceTable(
    of device: DeviceReference, with table: Table, isReadOnly: Bool = false, _ options: SuspendOptions = []
  ) throws(BlockError) {
    try load(table, into: device, isReadOnly: isReadOnly)
    do {
      try suspend(device, options)
      try resume(device)
    } catch {
      do {
        try clear(device)
        try resume(device)
      } catch let further {
        throw error.aggravated(by: further, while: "going back to the old table")
      }
      throw error
    }
  }

  /// Removes a device and its name in `/dev/mapper`.
  ///
  /// - Parameters:
  ///   - device: The device.
  ///   - deferred: Whether one that is open goes when its last user closes it, instead of the error `busy`; its name
  ///     goes at once, so that nobody else opens it.
  /// - Returns: Whether it is gone; `false` only if deferred.
  /// - Throws: `busy` if it is open, `notFound` if it is not there, others by errno.
  @discardableResult
  public func remove(_ device: DeviceReference, deferred: Bool = false) throws(BlockError) -> Bool {
    let name = try info(device)?.name
    var request = Request(device, flags: deferred ? DM_DEFERRED_REMOVE : 0)
    request.eventNumber = UdevFlags.all
    let reply = try call(cdm_DEV_REMOVE, request, step: "remove", object: device.description)
    if let name { hide(name) }
    // An answer with that flag says that the device stays until it is closed.
    return !(deferred && reply.device.isRemovedWhenClosed)
  }

  /// Gives a device another name, in `/dev/mapper`, too.
  ///
  /// - Throws: `conflict` if that is taken, others by errno.
  public func rename(_ name: String, to new: String) throws(BlockError) {
    try Self.check(new, limit: Int(DM_NAME_LEN) - 1)
    var request = Request(.name(name))
    request.payload = Array(new.utf8) + [0]
    request.eventNumber = UdevFlags.all
    do {
      let device = try call(cdm_DEV_RENAME, request, step: "rename to \(new)", object: name).device
      hide(name)
      try show(new, device.numbers)
    } catch  where error.errno == .resourceBusy {
      throw BlockError(
        .conflict, step: "rename to \(new)", object: name, cause: "there is a device of that name already",
        errno: error.errno)
    }
  }

  /// Sends a message to the target at a sector: thin pools take orders that way.
  ///
  /// - Throws: By errno.
  public func send(_ message: String, to device: DeviceReference, sector: UInt64 = 0) throws(BlockError) {
    var request = Request(device)
    request.payload = withUnsafeBytes(of: sector) { Array($0) } + Array(message.utf8) + [0]
    let log = try KernelLog()
    do {
      _ = try call(
        cdm_TARGET_MSG, request, step: "send \"\(message)\" to", object: device.description)
    } catch {
      throw log.explained(error)
    }
  }
}
