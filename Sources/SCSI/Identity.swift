/// The names of a logical unit: the device identification page (SPC-4, 7.8.6).
struct Identity {
  /// The kernel takes no longer serial number.
  static let mostSerialBytes = 254
  /// A designator's length is one byte, and a multiple of 4 where it is padded.
  private static let mostDesignatorBytes = 252

  private let options: LogicalUnit.Options
  private let serial: [UInt8]

  init(_ options: LogicalUnit.Options) {
    self.options = options
    serial = Array(options.serial().utf8.prefix(Self.mostSerialBytes))
  }

  /// All designators, one behind the other.
  ///
  /// Without a serial number the strict profile names no unit: one name for all units that have none would make them
  /// paths to one disk.
  var designators: [UInt8] {
    let isStrict = options.profile == .strict
    var all: [UInt8] = []
    if !serial.isEmpty || !isStrict {
      all += Self.designator(codeSet: 2, type: 1, vendor + serial + [0])
      all += Self.designator(codeSet: 1, type: 3, extended)
    }
    if !isStrict { all += Self.designator(codeSet: 2, type: 0, Array(options.configuration.utf8) + [0]) }
    if let port = options.targetPort() { all += designators(of: port) }
    return all
  }

  /// The NAA designator; `nil` without a serial number.
  var registeredExtended: [UInt8]? { serial.isEmpty ? nil : extended }

  private var vendor: [UInt8] {
    var bytes = DataInBytes()
    bytes.append(options.vendor, count: 8)
    return bytes.bytes
  }

  /// NAA 6, the company 001405, and the serial number's hexadecimal digits as far as they go, which is what LIO
  /// does: `wwn-0x6001405…` of udev.
  private var extended: [UInt8] {
    let digits = serial.compactMap { Character(Unicode.Scalar($0)).hexDigitValue.map(UInt8.init) }
    let nibbles = ([6, 0, 0, 1, 4, 0, 5] + digits + [UInt8](repeating: 0, count: 32)).prefix(32)
    return stride(from: 0, to: 32, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
  }

  private func designators(of port: LogicalUnit.TargetPort) -> [UInt8] {
    let name = Array(port.targetName.utf8)
    var tag = String(port.portalGroupTag, radix: 16)
    tag = String(repeating: "0", count: 4 - tag.utf8.count) + tag
    func designator(_ codeSet: UInt8, _ association: UInt8, _ type: UInt8, _ bytes: [UInt8]) -> [UInt8] {
      // The protocol identifier is there and PIV says so.
      Self.designator(
        codeSet: port.protocolIdentifier << 4 | codeSet, type: 0x80 | association << 4 | type, bytes)
    }
    func pair(_ value: UInt16) -> [UInt8] { [0, 0, UInt8(value >> 8), UInt8(value & 0xFF)] }
    return designator(1, 1, 4, pair(port.relativeIdentifier)) + designator(1, 1, 5, pair(port.group))
      + designator(3, 1, 8, Self.padded(name + Array(",t,0x\(tag)".utf8)))
      + designator(3, 2, 8, Self.padded(name))
  }

  /// A text that ends with at least one NUL, and on a multiple of 4.
  private static func padded(_ text: [UInt8]) -> [UInt8] {
    let text = text.prefix(mostDesignatorBytes - 1)
    return text + [UInt8](repeating: 0, count: 4 - text.count % 4)
  }

  private static func designator(codeSet: UInt8, type: UInt8, _ bytes: [UInt8]) -> [UInt8] {
    let bytes = bytes.prefix(mostDesignatorBytes)
    return [codeSet, type, 0, UInt8(bytes.count)] + bytes
  }
}
