import Attachments
import BlockCore
import LinuxIO
import TransportTCMU

/// Something of this instance that is there and that no row of its journal names.
///
/// It is this instance's because its data server's socket stands in its directory: that file has the random part of the
/// name that its kernel objects have.
struct Orphan: Sendable {
  /// The connection to its data server; `nil` if nobody answers.
  var link: ServerLink?
  /// What the data server says.
  var status: ServerStatus?
  /// The data server's process, as far as it is known.
  var server: ProcessIdentity?
  /// What the kernel has of it.
  var found: Found

  /// What the kernel has of an orphan.
  struct Found: Sendable {
    /// The name of the exported file.
    var exportName: String
    /// The loop device.
    var device: String?
    /// The backstore.
    var backstore: BackstoreSpec?
  }

  /// Looks for what belongs to a data server's socket.
  ///
  /// - Parameters:
  ///   - random: The random part of its name.
  ///   - path: The socket's path.
  ///   - deadline: How long a data server may take to answer.
  /// - Returns: `nil` if nothing is left of it.
  static func look(
    for random: String, at path: String, within deadline: Duration, clock: any HostClock
  ) async -> Orphan? {
    // Nobody listens where the server is dead.
    let link = try? ServerLink(path)
    var status: ServerStatus?
    if let link {
      status =
        await Race.first(within: deadline, clock: clock) {
          for await event in link.events {
            if case .message(.status(let status), _, let hold) = event {
              // Another one comes with the next connection.
              hold?.release()
              return status
            }
            if case .end = event { return nil }
          }
          return nil
        } ?? nil
      link.close()
    }
    // Its manager has died before it was finished: it ends with that connection.
    if let hello = status?.hello, hello.isCommitted == false { return nil }
    var found = await inKernel(random)
    if let status, status.exportName.hasSuffix("-\(random)") { found.exportName = status.exportName }
    if let backstore = status?.hello?.spec?.backstore { found.backstore = backstore }
    found.device = status?.device ?? found.device
    let server = link == nil ? nil : status?.hello?.process ?? SocketHolder.find(path)
    guard server != nil || status != nil || found.device != nil || found.backstore != nil else { return nil }
    return Orphan(
      link: link == nil ? nil : try? ServerLink(path), status: status, server: server, found: found)
  }

  /// Whether nobody listens at a data server's socket: only then is it nobody's.
  ///
  /// One that could not be looked at, for want of descriptors or threads, may live.
  static func isGone(at path: String) -> Bool {
    do throws(BlockError) {
      _ = try MessageSocket.connect(to: path)
      return false
    } catch {
      return error.kind == .disconnected || error.kind == .notFound
    }
  }

  private static func inKernel(_ random: String) async -> Found {
    var found = Found(exportName: "ashlar-unknown-\(random)")
    if let loop = LoopDevice.exported(random) {
      found.exportName = loop.name
      found.device = loop.path
    }
    let serial = BackstoreObjects.serialPrefix + random
    // Only what can wait for others is behind configfs; it has a thread of its own.
    let entry: UIODevice.Entry? =
      await Race.first(within: .seconds(2), clock: LinuxClock()) {
        do throws(BlockError) {
          return try await Blocking.run("orphans") { () throws(BlockError) -> UIODevice.Entry? in
            UIODevice.all().first { $0.backstore.serial == serial }
          }
        } catch {
          return nil
        }
      } ?? nil
    if let entry {
      let id = entry.backstore.name.hasPrefix("dev_") ? String(entry.backstore.name.dropFirst(4)) : "unknown"
      found.exportName = "ashlar-\(id)-\(random)"
      found.backstore = BackstoreSpec(
        hba: entry.backstore.hba, name: entry.backstore.name, configuration: entry.configuration, role: .own)
    }
    return found
  }

  /// What it is called, by itself or by the name of what it exports.
  var id: String {
    if let id = status?.hello?.id { return id }
    let name = found.exportName.dropFirst("ashlar-".count)
    return String(name.lastIndex(of: "-").map { name[..<$0] } ?? name)
  }

  /// What would stand in the journal for it.
  ///
  /// - Parameters:
  ///   - id: What it is to be called.
  ///   - bootID: The boot of now.
  ///   - now: Seconds since 1970-01-01 00:00:00 UTC.
  func row(_ id: AttachmentID, bootID: String, now: Double) throws(BlockError) -> Journal.Row {
    var spec = status?.hello?.spec ?? .unknown
    if status?.hello?.spec == nil {
      spec.isReadOnly = status?.readOnly ?? false
      if let backstore = found.backstore {
        spec.transport = .tcmu
        spec.backstore = backstore
        if backstore.subtype == BackstoreSpec.Subtype.overlaybd.rawValue {
          spec.scheme = backstore.subtype
          spec.path = backstore.overlaybdPath
        }
      }
    }
    var row = try Journal.Row(
      id: id, exportName: found.exportName, spec: spec, bootID: bootID,
      createdAt: status?.hello?.createdAt ?? now)
    row.state = AttachmentState.unknown.rawValue
    if let status { try row.note(status) }
    row.device = found.device
    row.serverPid = server?.pid
    row.serverStart = server.map { Int64($0.startTime) }
    return row
  }
}

extension LoopDevice {
  /// The loop device over a file that a data server exports, by the random part of the file's name.
  static func exported(_ random: String) -> (name: String, path: String)? {
    for disk in BlockDevice.names(withPrefix: "loop") {
      guard let file = BlockDevice.attribute("loop/backing_file", of: disk) else { continue }
      let name = file.replacing(" (deleted)", with: "").split(separator: "/").last ?? ""
      if name.hasPrefix("ashlar-"), name.hasSuffix("-\(random)") { return (String(name), "/dev/\(disk)") }
    }
    return nil
  }
}
