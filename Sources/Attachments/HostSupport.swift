import BlockCore
import Glibc
import LinuxIO

/// What this host offers for making block devices: what `ashlar doctor` shows and `auto` chooses by.
public enum HostSupport {
  /// One thing that was looked at.
  public struct Finding: Sendable, Hashable, Codable {
    /// What it is.
    public var name: String
    /// Whether it is there.
    public var isAvailable: Bool
    /// What was seen.
    public var detail: String
    /// What makes it available; `nil` if it is, or if nothing does.
    public var remedy: String?

    /// Makes a finding; the parameters are those of the properties.
    public init(_ name: String, _ isAvailable: Bool, _ detail: String, remedy: String? = nil) {
      self.name = name
      self.isAvailable = isAvailable
      self.detail = detail
      self.remedy = isAvailable ? nil : remedy
    }
  }

  /// What a host offers.
  public struct Report: Sendable, Hashable, Codable {
    /// The kernel's release.
    public var kernel: String
    /// What the engine uses today.
    public var needed: [Finding]
    /// What the kernel offers beyond that.
    public var transports: [Finding]
    /// What `auto` chooses; `nil` if nothing can be chosen.
    public var choice: String?
    /// Why.
    public var reason: String
    /// What the TCM-USER driver says of itself, and who listens to it; `nil` if nobody has looked.
    public var tcmu: [Finding]?
    /// What it offers for sandboxes; `nil` if nobody has looked.
    public var sandboxes: SandboxReport?
  }

  /// What a host offers for sandboxes.
  public struct SandboxReport: Sendable, Hashable, Codable {
    /// What was looked at.
    public var findings: [Finding]
    /// The driver of a new sandbox; `nil` if there can be none.
    public var driver: String?
    /// Why.
    public var reason: String

    /// Makes a report; the parameters are those of the properties.
    public init(findings: [Finding], driver: String?, reason: String) {
      self.findings = findings
      self.driver = driver
      self.reason = reason
    }
  }

  /// Looks at the host.
  public static func report(_ directories: EngineDirectories) -> Report {
    let needed = [
      root, device("/dev/fuse", "fuse", "FUSE"), device("/dev/loop-control", "loop", "loop devices"),
      kernelVersion, openFiles, directory("state", directories.root), runDirectory(directories),
    ]
    let missing = needed.filter { !$0.isAvailable }
    let reason =
      missing.isEmpty
      ? "FUSE and loop devices are here, and they are what this version can use"
      : "missing: \(missing.map(\.name).joined(separator: ", "))"
    return Report(
      kernel: release, needed: needed, transports: transports,
      choice: missing.isEmpty ? "fuse" : nil, reason: reason)
  }

  /// Throws unless a transport can work, saying what is missing and what helps.
  ///
  /// Drivers that are loaded when they are needed are not looked at.
  ///
  /// - Throws: `permissionDenied` or `unavailable`.
  public static func require(_ transport: TransportChoice) throws(BlockError) {
    let needed =
      switch transport {
      case .auto, .fuse:
        [root, device("/dev/fuse", "fuse", "FUSE"), device("/dev/loop-control", "loop", "loop devices")]
      case .tcmu: [root]
      }
    for finding in needed where !finding.isAvailable {
      throw BlockError(
        finding.name == root.name ? .permissionDenied : .unavailable, step: "attach", object: "a device",
        cause: "\(finding.name): \(finding.detail)", remedy: finding.remedy)
    }
  }

  private static var root: Finding {
    Finding(
      "root", geteuid() == 0, geteuid() == 0 ? "running as root" : "running as user \(geteuid())",
      remedy: "Run it as root: loop devices and mounts need CAP_SYS_ADMIN.")
  }

  private static func device(_ path: String, _ module: String, _ name: String) -> Finding {
    if access(path, R_OK | W_OK) == 0 { return Finding(name, true, "\(path) can be opened") }
    let isMissing = errno == ENOENT
    return Finding(
      name, false, isMissing ? "\(path) is missing" : "\(path): \(String(cString: strerror(errno)))",
      remedy: isMissing
        ? "Load the driver: modprobe \(module); in a container, give it the host's \(path)."
        : "Run it as root, or give this user access to it.")
  }

  private static var release: String { SmallFile.text("/proc/sys/kernel/osrelease") ?? "unknown" }

  /// LOOP_CONFIGURE came with 5.8, and direct I/O over FUSE works from 5.10 on.
  private static var kernelVersion: Finding {
    let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    let isEnough = numbers.count == 2 && (numbers[0], numbers[1]) >= (5, 10)
    return Finding("kernel", isEnough, release, remedy: "Use a kernel of 5.10 or newer.")
  }

  /// What a data server over FUSE needs, which keeps some numbers of descriptors free.
  private static let openFilesNeeded = 1024

  private static var openFiles: Finding {
    let limit = LinuxProcess.openFileLimit
    return Finding(
      "open files", limit >= openFilesNeeded, "a process that is started here may have \(limit)",
      remedy: "Raise that to \(openFilesNeeded) or more: ulimit -n (LimitNOFILE= of a service).")
  }

  private static func runDirectory(_ directories: EngineDirectories) -> Finding {
    do throws(BlockError) {
      try directories.checkLength()
    } catch {
      return Finding("run directory", false, "\(error.object): \(error.cause)", remedy: error.remedy)
    }
    return directory("run", directories.run)
  }

  private static func directory(_ name: String, _ path: String) -> Finding {
    if access(path, W_OK | X_OK) == 0 { return Finding("\(name) directory", true, path) }
    if errno == ENOENT {
      // It is made at the first attach, if its nearest parent allows that.
      var parent = path[...]
      while let slash = parent.lastIndex(of: "/"), slash != parent.startIndex {
        parent = parent[..<slash]
        if access(String(parent), F_OK) == 0 { break }
      }
      if access(String(parent), W_OK | X_OK) == 0 {
        return Finding("\(name) directory", true, "\(path) (not made yet)")
      }
    }
    return Finding(
      "\(name) directory", false, "\(path): \(String(cString: strerror(errno)))",
      remedy: "Run it as root, or move it with --root and --run.")
  }

  private static var transports: [Finding] {
    func driver(
      _ name: String, _ node: String, _ module: String, use: String = "this version does not use it yet"
    ) -> Finding {
      let isLoaded = access("/sys/module/\(module)", F_OK) == 0 || (!node.isEmpty && access(node, F_OK) == 0)
      return Finding(
        name, isLoaded, isLoaded ? "the driver is loaded; \(use)" : "the driver is not loaded",
        remedy: "modprobe \(module)")
    }
    return [
      driver("ublk", "/dev/ublk-control", "ublk_drv"),
      driver("tcmu", "", "target_core_user", use: "ask for it with --transport tcmu"),
      driver("nbd", "/dev/nbd0", "nbd"),
      driver("device-mapper", "/dev/mapper/control", "dm_mod", use: "for sandboxes and header volumes"),
    ]
  }
}
