import BlockCore
import LinuxIO

/// A LUN of some fabric that exports a backstore.
public struct FabricLink: Sendable, Hashable {
  /// The fabric: `loopback`, `iscsi` or another.
  public let fabric: String
  /// The target's name.
  public let target: String
  /// The target port group: `tpgt_1`.
  public let portGroup: String
  /// The LUN: `lun_0`.
  public let lun: String
  /// The link's name in the LUN's directory.
  public let name: String

  /// The link's path.
  public var path: String {
    "\(TargetConfiguration.root)/\(fabric)/\(target)/\(portGroup)/lun/\(lun)/\(name)"
  }

  /// All links to a backstore, in all fabrics.
  public static func all(to backstore: Backstore) -> [FabricLink] {
    let root = ConfigDirectory(TargetConfiguration.root)
    return root.directories.filter { $0 != "core" }.flatMap { fabric in
      ConfigDirectory(root(fabric)).directories.flatMap { all(to: backstore, fabric, target: $0) }
    }
  }

  private static func all(to backstore: Backstore, _ fabric: String, target: String) -> [FabricLink] {
    let directory = ConfigDirectory("\(TargetConfiguration.root)/\(fabric)/\(target)")
    return directory.directories.flatMap { group -> [FabricLink] in
      let luns = ConfigDirectory(directory("\(group)/lun"))
      return luns.directories.flatMap { lun -> [FabricLink] in
        ConfigDirectory(luns(lun)).links.filter { Self.backstore(inTarget: $0.target) == backstore }.map {
          FabricLink(fabric: fabric, target: target, portGroup: group, lun: lun, name: $0.name)
        }
      }
    }
  }

  /// The backstore that a link leads to: `…/core/user_HBA/NAME`; `nil` if it is of another kind.
  package static func backstore(inTarget path: String) -> Backstore? {
    let parts = path.split(separator: "/")
    guard parts.count >= 3, parts[parts.count - 3] == "core",
      let hba = Backstore.adapterNumber(parts[parts.count - 2])
    else { return nil }
    return Backstore(hba: hba, name: String(parts[parts.count - 1]))
  }
}
