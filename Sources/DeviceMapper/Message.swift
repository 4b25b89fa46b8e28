import BlockCore
import CDevMapper
import CLinux
import LinuxIO

/// What stands for a device in a call.
public enum DeviceReference: Sendable, Hashable, CustomStringConvertible {
  /// Its name, which may be taken over by another device.
  case name(String)
  /// Its UUID, which no other one ever has.
  case uuid(String)

  public var description: String {
    switch self {
    case .name(let text), .uuid(let text): text
    }
  }
}

/// A call to device-mapper: `struct dm_ioctl` and what follows it.
struct Request {
  var name = ""
  var uuid = ""
  var flags: UInt32 = 0
  /// The flags for udev, in the upper half; without a cookie, for nobody waits.
  var eventNumber: UInt32 = 0
  var targetCount: UInt32 = 0
  var payload: [UInt8] = []

  init(_ reference: DeviceReference? = nil, flags: Int32 = 0) {
    switch reference {
    case .name(let text): name = text
    case .uuid(let text): uuid = text
    case nil: break
    }
    self.flags = UInt32(flags)
  }

  static let headerByteCount = MemoryLayout<dm_ioctl>.size
  /// Where the payload begins: behind the structure, at a multiple of 8.
  static let payloadStart = (headerByteCount + 7) / 8 * 8

  var byteCount: Int { Self.payloadStart + payload.count }

  /// The bytes to send, with room for an answer.
  func encoded(capacity: Int) -> [UInt8] {
    var header = dm_ioctl()
    header.version = (UInt32(DM_VERSION_MAJOR), 0, 0)
    header.data_size = UInt32(capacity)
    header.data_start = UInt32(Self.payloadStart)
    header.flags = flags
    header.event_nr = eventNumber
    header.target_count = targetCount
    withUnsafeMutableBytes(of: &header.name) { $0.copyBytes(from: name.utf8.prefix($0.count - 1)) }
    withUnsafeMutableBytes(of: &header.uuid) { $0.copyBytes(from: uuid.utf8.prefix($0.count - 1)) }
    var bytes = [UInt8](repeating: 0, count: capacity)
    withUnsafeBytes(of: header) { bytes.replaceSubrange(0..<$0.count, with: $0) }
    bytes.replaceSubrange(Self.payloadStart..<Self.payloadStart + payload.count, with: payload)
    return bytes
  }
}

/// The answer to a call.
struct Reply {
  private let header: dm_ioctl
  /// What follows the structure.
  let payload: [UInt8]

  init(_ buffer: [UInt8], object: String) throws(BlockError) {
    header = buffer.withUnsafeBytes { $0.loadUnaligned(as: dm_ioctl.self) }
    let start = Int(header.data_start)
    let end = Int(header.data_size)
    // The kernel says how much of the buffer it has filled.
    guard start <= end, end <= buffer.count else {
      guard end <= Request.headerByteCount else { throw Self.malformed(object) }
      payload = []
      return
    }
    payload = Array(buffer[start..<end])
  }

  static func malformed(_ object: String) -> BlockError {
    BlockError(
      .ioError, step: "understand device-mapper's answer for", object: object,
      cause: "its lengths contradict each other")
  }

  var isCut: Bool { header.flags & UInt32(DM_BUFFER_FULL_FLAG) != 0 }
  var targetCount: Int { Int(header.target_count) }

  /// What the answer says of the device.
  var device: MappedDevice {
    func text(_ bytes: UnsafeRawBufferPointer) -> String {
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let flags = header.flags
    func has(_ flag: Int32) -> Bool { flags & UInt32(flag) != 0 }
    return MappedDevice(
      name: withUnsafeBytes(of: header.name, text), uuid: withUnsafeBytes(of: header.uuid, text),
      numbers: DeviceNumbers(kernel: header.dev), openCount: Int(header.open_count),
      isSuspended: has(DM_SUSPEND_FLAG), isReadOnly: has(DM_READONLY_FLAG),
      hasTable: has(DM_ACTIVE_PRESENT_FLAG), hasInactiveTable: has(DM_INACTIVE_PRESENT_FLAG),
      isRemovedWhenClosed: has(DM_DEFERRED_REMOVE), eventNumber: header.event_nr)
  }
}

/// A device of device-mapper, as the kernel describes it at one moment.
public struct MappedDevice: Sendable, Hashable {
  /// Its name.
  public var name: String
  /// Its UUID; empty if it has none.
  public var uuid: String
  /// Its device numbers.
  public var numbers: DeviceNumbers
  /// How often it is open, by processes, mounts and other devices.
  public var openCount: Int
  /// Whether it holds back requests.
  public var isSuspended: Bool
  /// Whether writes are refused.
  public var isReadOnly: Bool
  /// Whether it has a table that works.
  public var hasTable: Bool
  /// Whether a table waits for the next resume.
  public var hasInactiveTable: Bool
  /// Whether it goes as soon as nobody has it open.
  public var isRemovedWhenClosed: Bool
  /// Counts the events that its targets have raised.
  public var eventNumber: UInt32

  /// The node that stands for it.
  public var path: String { DeviceMapper.path(of: name) }
}
