import Attachments
import BlockCore
import LinuxIO
import TransportTCMU

/// What this host's TCM-USER driver says of itself, and who listens to it.
enum TCMUSupport {
  private static let parameters = "/sys/module/target_core_user/parameters"

  static func report(_ directories: EngineDirectories) -> [HostSupport.Finding] {
    guard let isBlocked = NetlinkBlocking.isBlocked else {
      return [.init("driver", false, "it is not loaded", remedy: "It is loaded when it is used.")]
    }
    return [
      .init("driver", true, "it is loaded"), events(isBlocked: isBlocked), listeners(directories), dataArea,
      devices,
    ]
  }

  /// Somebody who has blocked them and died leaves them so.
  private static func events(isBlocked: Bool) -> HostSupport.Finding {
    .init(
      "events", !isBlocked,
      isBlocked ? "they are blocked: no backstore can be enabled" : "the kernel sends them",
      remedy: "echo 0 > \(parameters)/block_netlink")
  }

  /// A manager that has died has left its promise to the kernel: whoever enables a backstore waits for its answer.
  private static func listeners(_ directories: EngineDirectories) -> HostSupport.Finding {
    let name = "listeners"
    do throws(BlockError) {
      guard let listeners = try TCMUEvents.otherListeners() else {
        return .init(name, true, "the kernel does not say who listens to the events")
      }
      if listeners.isEmpty {
        // The note of one that has ended in good order is another one.
        guard let last = FileLock.lastNote(of: directories.lock), last.note == ManagerRole.service.rawValue
        else {
          return .init(name, true, "nobody serves backstores that others make")
        }
        return .init(
          name, false,
          "process \(last.pid), which served backstores, was killed: who enables one waits for its answer",
          remedy: "Start the service again; or any manager, which lets them go: ashlar ls.")
      }
      return .init(name, true, listeners.map(\.description).sorted().joined(separator: ", "))
    } catch {
      return .init(name, false, error.cause, remedy: error.remedy)
    }
  }

  private static var dataArea: HostSupport.Finding {
    let mebibytes = SmallFile.text("\(parameters)/global_max_data_area_mb") ?? "an unknown number of"
    return .init("data areas", true, "\(mebibytes) MiB at most for all devices at one time")
  }

  private static var devices: HostSupport.Finding {
    let devices = UIODevice.all()
    let subtypes = Set(devices.map(\.subtype)).sorted()
    return .init(
      "devices", true,
      devices.isEmpty ? "none" : "\(devices.count), of the subtypes \(subtypes.joined(separator: ", "))")
  }
}
