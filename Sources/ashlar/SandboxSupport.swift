import Attachments
import BlockCore
import DeviceMapper

/// What this host offers for sandboxes, and which driver a new one gets.
enum SandboxSupport {
  static func report() -> HostSupport.SandboxReport {
    var findings: [HostSupport.Finding] = []
    var mapper: DeviceMapper?
    do throws(BlockError) {
      mapper = try DeviceMapper()
      findings.append(.init("device-mapper", true, "/dev/mapper/control can be opened"))
    } catch {
      findings.append(.init("device-mapper", false, error.cause, remedy: error.remedy))
    }
    let snapshot = finding("snapshot", module: "dm-snapshot", mapper)
    let thin = finding("thin-pool", module: "dm-thin-pool", mapper)
    findings += [snapshot, thin]
    guard mapper != nil, snapshot.isAvailable || thin.isAvailable else {
      return .init(findings: findings, driver: nil, reason: "the kernel's part is missing")
    }
    return .init(
      findings: findings, driver: snapshot.isAvailable ? "snapshot" : "thin",
      reason: snapshot.isAvailable
        ? "it has the smaller chunks and can be merged; thin is for quotas, many forks, and discard"
        : "dm-snapshot is missing; name it with --driver thin")
  }

  private static func finding(
    _ target: String, module: String, _ mapper: DeviceMapper?
  ) -> HostSupport.Finding {
    do throws(BlockError) {
      switch try TargetSupport(target, module: module, mapper) {
      case .loaded(let version): return .init(target, true, "version \(version)")
      case .loadable(let module): return .init(target, true, "the kernel loads \(module) when it is used")
      case .missing:
        return .init(
          target, false, "the kernel has no \(module)", remedy: "Install the kernel's module \(module).")
      }
    } catch {
      return .init(target, false, error.cause, remedy: error.remedy)
    }
  }
}
