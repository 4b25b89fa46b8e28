import BlockCore
import Glibc
import LinuxIO

/// Whether the kernel has a target, or a module that brings it.
public enum TargetSupport: Sendable, Hashable {
  /// It is loaded, with this version.
  case loaded(version: String)
  /// Its module is there; the kernel loads it when it is first used.
  case loadable(module: String)
  /// Neither.
  case missing

  /// Looks for a target.
  ///
  /// - Parameters:
  ///   - target: What the kernel calls it.
  ///   - module: The module that has it, without `.ko`.
  ///   - mapper: The driver; `nil` if that is not loaded.
  /// - Throws: By errno.
  public init(_ target: String, module: String, _ mapper: DeviceMapper?) throws(BlockError) {
    if let version = try mapper?.targetVersions()[target] {
      self = .loaded(version: version.map(String.init).joined(separator: "."))
      return
    }
    let release = SmallFile.text("/proc/sys/kernel/osrelease") ?? ""
    let list = SmallFile.text("/lib/modules/\(release)/modules.dep", limit: 16 << 20) ?? ""
    // One line a module: its path, a colon, and what it needs.
    let isThere = list.split(separator: "\n").contains { line in
      line.prefix { $0 != ":" }.split(separator: "/").last?.hasPrefix("\(module).ko") ?? false
    }
    self = isThere ? .loadable(module: module) : .missing
  }
}
