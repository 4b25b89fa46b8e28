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
    let isForeign = try await Blocking.run("drivers") { () throws(BlockError) -> Bool in
      try TargetConfiguration.prepare()
      if choice != .auto { return choice == .foreign }
      return try isServedByOthers()
    }
    return BackstoreSpec(
      hba: names.backstore.hba, name: names.backstore.name,
      configuration: "\(Subtype.overlaybd.rawValue)/\(path)\(withDevID ? ";\(id)" : "")",
      role: isForeign ? .foreign : .own)
  }

  /// What the programs of overlaybd's own are called.
  private static let foreignPrefix = "overlaybd"

  /// Whether another process of this host waits for backstores of the subtype `overlaybd`: one that listens to
  /// TCM-USER's events, and is overlaybd's by its name or serves such a backstore already.
  ///
  /// What subtypes a process waits for, the kernel does not know. A manager of ours listens, too, but its backstores
  /// are served by other processes.
  private static func isServedByOthers() throws(BlockError) -> Bool {
    guard let listeners = try TCMUEvents.otherListeners(), !listeners.isEmpty else { return false }
    let devices = UIODevice.all().filter { $0.subtype == Subtype.overlaybd.rawValue }
    return listeners.contains { listener in
      listener.command.hasPrefix(foreignPrefix)
        || listener.program?.hasPrefix(foreignPrefix) ?? false
        || devices.contains { listener.hasOpen($0) }
    }
  }
}
