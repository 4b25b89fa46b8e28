import Attachments
import BlockCore
import LinuxIO
import TransportTCMU

extension BackstoreSpec {
  /// The backstore of an attachment, with the names that overlaybd's attacher gives.
  ///
  /// - Parameters:
  ///   - id: What the user calls the attachment: 1 to 13 characters, for the disk's name holds no more.
  ///   - path: The image's path as it was given, absolute.
  ///   - isOverlayBD: Whether it is an overlaybd image, which other processes can serve, too.
  ///   - choice: Who is to serve it.
  ///   - withDevID: Whether the configuration ends with the ID.
  /// - Throws: `invalidArgument` for an ID that cannot be one; `unsupported` if another process is to serve what
  ///   only we can.
  public static func attachment(
    _ id: AttachmentID, path: String, isOverlayBD: Bool, choice: BackstoreChoice, withDevID: Bool
  ) async throws(BlockError) -> BackstoreSpec {
    let names = try DeviceNames(id: id.text)
    guard isOverlayBD else {
      guard choice != .foreign else {
        throw BlockError(
          .unsupported, step: "attach", object: id.text,
          cause: "another process can serve overlaybd images only, and \(path) is none",
          remedy: "Leave out --backstore.")
      }
      return BackstoreSpec(
        hba: names.backstore.hba, name: names.backstore.name,
        configuration: "\(Subtype.ashlar.rawValue)/\(id)", role: .own)
    }
    // The kernel's modules tell who listens, and whether they can be had.
    let (role, subtype) = try await Blocking.run("drivers") { () throws(BlockError) -> (Role, Subtype) in
      try TargetConfiguration.prepare()
      return switch choice {
      case .foreign: (.foreign, .overlaybd)
      // Who serves overlaybd's own subtype may come at any time, and takes every backstore of it that it sees.
      case .ashlar: (.own, .ashlar)
      case .auto: try chosen()
      }
    }
    AttachCourse.note(
      role == .foreign
        ? "another process is left to serve it" : "this engine serves it, as \(subtype.rawValue)")
    return BackstoreSpec(
      hba: names.backstore.hba, name: names.backstore.name,
      configuration: "\(subtype.rawValue)/\(subtype == .ashlar ? id.text : path)\(withDevID ? ";\(id)" : "")",
      role: role)
  }

  /// Who serves an overlaybd image that nobody is named for, and under which subtype.
  private static func chosen() throws(BlockError) -> (Role, Subtype) {
    guard let listeners = try TCMUEvents.otherListeners() else { return (.own, .overlaybd) }
    if isOverlayBD(among: listeners) { return (.foreign, .overlaybd) }
    // Managers of ours leave what one of them makes to its maker, and tcmu-runner has no handler for it. What else
    // listens may be waiting for that subtype.
    let isFree = listeners.allSatisfy { $0.isOurs || $0.command == "tcmu-runner" }
    return (.own, isFree ? .overlaybd : .ashlar)
  }

  /// What the programs of overlaybd's own are called.
  private static let foreignPrefix = "overlaybd"

  /// Whether one of those who listen to TCM-USER's events waits for backstores of the subtype `overlaybd`: it is
  /// overlaybd's by its name, or serves such a backstore already.
  ///
  /// What subtypes a process waits for, the kernel does not know. A manager of ours listens, too, but its backstores
  /// are served by other processes.
  private static func isOverlayBD(among listeners: [TCMUEvents.Listener]) -> Bool {
    if listeners.isEmpty { return false }
    let devices = UIODevice.all().filter { $0.subtype == Subtype.overlaybd.rawValue }
    return listeners.contains { listener in
      listener.command.hasPrefix(foreignPrefix)
        || listener.program?.hasPrefix(foreignPrefix) ?? false
        || devices.contains { listener.hasOpen($0) }
    }
  }
}
