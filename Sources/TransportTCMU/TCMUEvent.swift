import BlockCore
import CNetlink
import SystemPackage

/// Something that the kernel tells the servers of backstores, and waits for an answer to.
public struct TCMUEvent: Sendable, Hashable {
  /// What has happened.
  public enum Kind: Sendable, Hashable {
    /// A backstore was enabled.
    case added
    /// A backstore is being removed.
    case removed
    /// Somebody wants it to have another size, in bytes.
    case reconfiguredSize(UInt64)
    /// Somebody wants it to have another `dev_config`.
    case reconfiguredConfiguration(String)
    /// Somebody wants it to have a write cache, or none.
    case reconfiguredWriteCache(Bool)
    /// Somebody wants something that we do not know.
    case reconfiguredOtherwise
  }

  /// What has happened.
  public let kind: Kind
  /// The kernel's number of the device in this protocol, which ties an answer to its event.
  public let device: UInt32
  /// N of `/dev/uioN`.
  public let uioNumber: Int
  /// The device's name: `tcm-user/HBA/NAME/CONFIGURATION`; empty if the kernel has none.
  public let name: String
  /// Whether the kernel has our answer already.
  public internal(set) var isAnswered = false

  /// Makes an event; the parameters are those of the properties.
  public init(_ kind: Kind, device: UInt32, uioNumber: Int, name: String) {
    self.kind = kind
    self.device = device
    self.uioNumber = uioNumber
    self.name = name
  }

  /// The device as sysfs would tell; `nil` if its name says nothing.
  public var entry: UIODevice.Entry? { UIODevice.Entry(number: uioNumber, name: name) }

  /// The command that answers it.
  var answer: Command {
    switch kind {
    case .added: .addedDone
    case .removed: .removedDone
    default: .reconfiguredDone
    }
  }

  /// The family's commands (linux/target_core_user.h, `enum tcmu_genl_cmd`; the header cannot be imported beside the
  /// C library's).
  enum Command: UInt8 {
    case added = 1
    case removed = 2
    case reconfigured = 3
    case addedDone = 4
    case removedDone = 5
    case reconfiguredDone = 6
    case setFeatures = 7
  }

  /// The family's attributes (`enum tcmu_genl_attr`).
  enum Attribute: Int32 {
    case name = 1
    case minor = 2
    case configuration = 4
    case size = 5
    case writeCache = 6
    case status = 7
    case device = 8
    case answersEvents = 9

    /// The highest number that we know.
    static let highest = Attribute.answersEvents.rawValue
  }

  /// Reads a message of the family.
  ///
  /// - Parameter header: A netlink message, of which all bytes are there.
  /// - Returns: `nil` if it is no event, or does not say of which device.
  package init?(_ header: UnsafeMutablePointer<nlmsghdr>) {
    var attributes = [UnsafeMutablePointer<nlattr>?](repeating: nil, count: Int(Attribute.highest) + 1)
    guard genlmsg_valid_hdr(header, 0) != 0, let family = genlmsg_hdr(header),
      genlmsg_parse(header, 0, &attributes, Attribute.highest, nil) >= 0
    else { return nil }
    func attribute(_ number: Attribute, _ count: Int32) -> UnsafeMutablePointer<nlattr>? {
      attributes[Int(number.rawValue)].flatMap { nla_len($0) >= count ? $0 : nil }
    }
    func text(_ number: Attribute) -> String? {
      attribute(number, 0).map { attribute in
        let bytes = UnsafeRawBufferPointer(start: nla_data(attribute), count: Int(nla_len(attribute)))
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
    }
    guard let device = attribute(.device, 4).map({ nla_get_u32($0) }),
      let minor = attribute(.minor, 4).map({ nla_get_u32($0) })
    else { return nil }
    switch Command(rawValue: family.pointee.cmd) {
    case .added: kind = .added
    case .removed: kind = .removed
    case .reconfigured:
      if let size = attribute(.size, 8) {
        kind = .reconfiguredSize(nla_get_u64(size))
      } else if let configuration = text(.configuration) {
        kind = .reconfiguredConfiguration(configuration)
      } else if let cache = attribute(.writeCache, 1) {
        kind = .reconfiguredWriteCache(nla_get_u8(cache) != 0)
      } else {
        kind = .reconfiguredOtherwise
      }
    default: return nil
    }
    self.device = device
    uioNumber = Int(minor)
    name = text(.name) ?? ""
  }
}
