import BlockCore
import LinuxIO
import SystemPackage

extension Backstore {
  /// Whether the kernel has it.
  public var exists: Bool { ConfigDirectory(path).exists }

  /// What the kernel says of it; `nil` if it has none of that name.
  public var status: Status? {
    let directory = ConfigDirectory(path)
    guard let info = directory.read("info").flatMap(Info.init),
      let blockSize = directory.read("attrib/hw_block_size").flatMap({ Int($0) }),
      let maximumSectors = directory.read("attrib/hw_max_sectors").flatMap({ Int($0) })
    else { return nil }
    return Status(
      configuration: info.configuration, byteCount: info.byteCount, blockSize: blockSize,
      maximumSectors: maximumSectors, isEnabled: isEnabled,
      isExported: info.isActivated,
      serial: serial)
  }

  /// Whether the kernel waits for an answer when it is enabled, changed or removed (`nl_reply_supported`).
  public var waitsForAnswers: Bool { attribute("nl_reply_supported") == "1" }

  /// An attribute: the text of a file in `attrib`; `nil` if the backstore is gone.
  func attribute(_ name: String) -> String? { ConfigDirectory(path).read("attrib/\(name)") }

  /// Whether it has a device, or did have one when this was asked.
  public var isEnabled: Bool { ConfigDirectory(path).read("enable") == "1" }

  /// Has the kernel wait for nobody's answer, from when it is enabled on.
  ///
  /// - Throws: By errno.
  func exempt() throws(BlockError) {
    try ConfigDirectory(path).write("-1", to: "attrib/nl_reply_supported")
  }

  /// The unit serial number now; empty if none is set, or the backstore is gone.
  public var serial: String {
    Self.serial(ConfigDirectory(path).read("wwn/vpd_unit_serial") ?? "")
  }

  /// Reads `wwn/vpd_unit_serial`.
  package static func serial(_ text: String) -> String {
    let title = "T10 VPD Unit Serial Number: "
    return text.hasPrefix(title) ? String(text.dropFirst(title.count)) : ""
  }

  /// All backstores of TCM-USER that the kernel has.
  public static func all() -> [Backstore] {
    ConfigDirectory("\(TargetConfiguration.root)/core").directories.flatMap { adapter -> [Backstore] in
      guard let hba = Self.adapterNumber(adapter) else { return [] }
      return ConfigDirectory("\(TargetConfiguration.root)/core/\(adapter)").directories.map {
        Backstore(hba: hba, name: $0)
      }
    }
  }

  /// The number in an adapter's name, `user_HBA`; `nil` for those of other kinds.
  package static func adapterNumber(_ name: some StringProtocol) -> UInt32? {
    name.hasPrefix("user_") ? UInt32(name.dropFirst(5)) : nil
  }

  /// What `info` says.
  package struct Info: Hashable {
    package var configuration: String
    package var byteCount: UInt64
    package var isActivated: Bool

    /// Reads the text of `info`; `nil` if it is another.
    package init?(_ text: String) {
      // The configuration may hold anything, also what looks like the fields around it.
      guard let start = text.firstRange(of: "Config: ")?.upperBound,
        let end = text[start...].ranges(of: " Size: ").last,
        let byteCount = UInt64(text[end.upperBound...].prefix { $0.isNumber })
      else { return nil }
      configuration = String(text[start..<end.lowerBound])
      self.byteCount = byteCount
      isActivated = text[..<start].contains("Status: ACTIVATED")
    }
  }

  // MARK: Recovery

  /// Turns commands away, or lets them in again.
  ///
  /// - Returns: False if the kernel cannot: it is too old.
  /// - Throws: By errno.
  @discardableResult
  public func setBlocked(_ isBlocked: Bool) throws(BlockError) -> Bool {
    try act("block_dev", isBlocked ? "1" : "0")
  }

  /// Whether commands are turned away now.
  public var isBlocked: Bool { ConfigDirectory(path).read("action/block_dev") == "blocked" }

  /// Gives every command that is in the ring back to its initiator, to be sent again, and empties the ring.
  ///
  /// Nobody may serve it, and it must be blocked.
  ///
  /// - Returns: False if the kernel cannot: it is too old.
  /// - Throws: By errno.
  @discardableResult
  public func resetRing() throws(BlockError) -> Bool { try act("reset_ring", "1") }

  private func act(_ action: String, _ value: String) throws(BlockError) -> Bool {
    let directory = ConfigDirectory(path)
    do throws(BlockError) {
      try directory.write(value, to: "action/\(action)")
      return true
    } catch  where error.errno == .noSuchFileOrDirectory && directory.exists {
      return false
    }
  }
}
