import BlockCore

/// The names that an ID gives to what stands for it in configfs: those of the attacher that comes with overlaybd.
public struct DeviceNames: Sendable, Hashable {
  /// What the backstore and the target are named by.
  public let id: String
  /// The tenant; `nil` for the usual one.
  public let tenant: UInt32?

  /// The host bus adapter of the usual tenant.
  static let usualAdapter: UInt32 = 999_999_999

  /// Names things by an ID.
  ///
  /// - Throws: `invalidArgument` for an ID that does not have 1 to 13 characters of those that names may have.
  public init(id: String, tenant: UInt32? = nil) throws(BlockError) {
    func reject(_ cause: String) -> BlockError {
      let shown = id.unicodeScalars.prefix(40).map {
        $0.properties.generalCategory == .control ? "?" : String($0)
      }
      return BlockError(
        .invalidArgument, step: "use the ID", object: "\"\(shown.joined())\"", cause: cause,
        remedy: "Use 1 to \(Limits.targetIDBytes) letters, digits, dots, dashes or underscores.")
    }
    guard !id.isEmpty else { throw reject("it is empty") }
    for byte in id.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
        continue
      default: throw reject("it holds a character that a TCMU device's name cannot have")
      }
    }
    guard id.utf8.count <= Limits.targetIDBytes else {
      throw reject(
        "it has \(id.utf8.count) characters, and a TCMU device's has \(Limits.targetIDBytes) at most")
    }
    self.id = id
    self.tenant = tenant
  }

  /// The backstore: `user_999999999/dev_ID`, or `user_TENANT/dev_ID`.
  public var backstore: Backstore { Backstore(hba: tenant ?? Self.usualAdapter, name: "dev_\(id)") }

  /// The loopback target: `naa.199` or `naa.1TT`, and the ID with zeros before it up to 13 characters.
  ///
  /// Two IDs that differ only by zeros in front have the same one.
  public var target: LoopbackTarget {
    let zeros = String(repeating: "0", count: Limits.targetIDBytes - id.utf8.count)
    return LoopbackTarget(name: "naa.\(tenant.map { $0 % 100 + 100 } ?? 199)\(zeros)\(id)")
  }
}
