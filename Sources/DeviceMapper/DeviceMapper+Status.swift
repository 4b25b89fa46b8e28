import BlockCore
import CDevMapper
import LinuxIO
import SystemPackage

extension DeviceMapper {
  /// What a device is now; `nil` if there is none.
  ///
  /// - Throws: By errno.
  public func info(_ device: DeviceReference) throws(BlockError) -> MappedDevice? {
    do {
      return try call(cdm_DEV_STATUS, Request(device), step: "look at", object: device.description).device
    } catch  where error.errno == .noSuchAddressOrDevice {
      return nil
    }
  }

  /// The table by which a device works.
  ///
  /// - Throws: `unavailable` if there is no such device, others by errno.
  public func table(of device: DeviceReference) throws(BlockError) -> Table {
    var lines: [Table.Line] = []
    for line in try answers(of: device, flags: DM_STATUS_TABLE_FLAG, step: "read the table of") {
      lines.append(
        .init(start: line.start, count: line.count, try Target(type: line.type, parameters: line.text)))
    }
    return Table(lines)
  }

  /// How the targets of a device are doing, in the order of its table.
  ///
  /// - Parameters:
  ///   - device: The device.
  ///   - isFlushed: Whether a thin pool writes its metadata first, so that the numbers are the newest; this
  ///     waits for its disk.
  /// - Throws: As ``table(of:)``.
  public func status(
    of device: DeviceReference, isFlushed: Bool = false
  ) throws(BlockError) -> [TargetStatus] {
    var found: [TargetStatus] = []
    for line in try answers(of: device, flags: isFlushed ? 0 : DM_NOFLUSH_FLAG, step: "read the status of") {
      found.append(try TargetStatus(type: line.type, text: line.text))
    }
    return found
  }

  private func answers(
    of device: DeviceReference, flags: Int32, step: String
  ) throws(BlockError) -> [RawTargetLine] {
    let reply = try call(
      cdm_TABLE_STATUS, Request(device, flags: flags), step: step, object: device.description)
    return try RawTargetLine.read(reply.payload, count: reply.targetCount)
  }

  /// The devices that a device stands on.
  ///
  /// - Throws: As ``table(of:)``.
  public func dependencies(of device: DeviceReference) throws(BlockError) -> [DeviceNumbers] {
    let payload = try call(
      cdm_TABLE_DEPS, Request(device), step: "read what is beneath", object: device.description
    ).payload
    guard payload.count >= 8 else { throw Reply.malformed(device.description) }
    let bytes = payload.span.bytes
    let count = Int(bytes.littleEndian(0, as: UInt32.self))
    guard count <= (payload.count - 8) / 8 else { throw Reply.malformed(device.description) }
    return (0..<count).map { DeviceNumbers(kernel: bytes.littleEndian(8 + 8 * $0, as: UInt64.self)) }
  }

  /// All devices of the host: name and numbers, the latest first.
  ///
  /// - Throws: By errno.
  public func list() throws(BlockError) -> [(name: String, numbers: DeviceNumbers)] {
    let payload = try call(cdm_LIST_DEVICES, Request(), step: "list", object: "device-mapper's devices")
      .payload
    return try NameList.devices(payload)
  }

  /// The versions of the targets that the kernel has loaded, by their names.
  ///
  /// - Throws: By errno.
  public func targetVersions() throws(BlockError) -> [String: [UInt32]] {
    let payload = try call(cdm_LIST_VERSIONS, Request(), step: "list", object: "device-mapper's targets")
      .payload
    return try NameList.versions(payload)
  }
}

/// The kernel's chained lists of names: `struct dm_name_list` and `struct dm_target_versions`.
enum NameList {
  /// Reads a list of devices.
  static func devices(_ payload: [UInt8]) throws(BlockError) -> [(name: String, numbers: DeviceNumbers)] {
    let bytes = payload.span.bytes
    var found: [(name: String, numbers: DeviceNumbers)] = []
    try walk(payload, headerByteCount: 12, nextAt: 8) { offset, name in
      let numbers = bytes.littleEndian(offset, as: UInt64.self)
      // Without any device there is one record of zeros.
      if numbers != 0 { found.append((name, DeviceNumbers(kernel: numbers))) }
    }
    return found
  }

  /// Reads a list of targets.
  static func versions(_ payload: [UInt8]) throws(BlockError) -> [String: [UInt32]] {
    let bytes = payload.span.bytes
    var found: [String: [UInt32]] = [:]
    try walk(payload, headerByteCount: 16, nextAt: 0) { offset, name in
      if !name.isEmpty {
        found[name] = (1...3).map { bytes.littleEndian(offset + 4 * $0, as: UInt32.self) }
      }
    }
    return found
  }

  /// Goes from record to record: each says how far the next one is, and its name follows its header.
  private static func walk(
    _ payload: [UInt8], headerByteCount: Int, nextAt: Int, _ body: (Int, String) -> Void
  ) throws(BlockError) {
    let bytes = payload.span.bytes
    var offset = 0
    while payload.count - offset >= headerByteCount {
      body(offset, bytes.text(offset + headerByteCount..<payload.count))
      let next = Int(bytes.littleEndian(offset + nextAt, as: UInt32.self))
      if next == 0 { return }
      guard next >= headerByteCount, next <= payload.count - offset else {
        throw Reply.malformed("a list of names")
      }
      offset += next
    }
  }
}
