import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import LinuxIO

extension InstanceOptions {
  /// Refuses a file or device that sandboxes stand on; only the manager knows of them, and none is asked where there are
  /// none.
  ///
  /// - Parameters:
  ///   - path: It, absolute.
  ///   - step: What it is wanted for.
  /// - Throws: `conflict` with the sandboxes' names.
  func checkIsNoSandboxes(_ path: String, _ step: String) async throws(BlockError) {
    guard LinuxFileSystem().exists(EngineDirectories.sandboxJournal(in: directories.root)) else { return }
    let names: [String] = try await withManager { client async throws(BlockError) in
      try await client.call(.get, Self.query("/v1/sandbox-dependants", path))
    }
    guard names.isEmpty else {
      throw BlockError(
        .conflict, step: step, object: path,
        cause: "the sandbox \(names.joined(separator: ", ")) stands on it",
        remedy: "Choose another one, or remove the sandbox first: ashlar sandbox rm.")
    }
  }

  /// Refuses a file that is a part of an attached disk, as far as a manager runs that knows.
  ///
  /// - Parameters:
  ///   - path: It, absolute.
  ///   - step: What it is wanted for.
  /// - Throws: `conflict` with the attachments' IDs.
  func checkIsNotAttached(_ path: String, _ step: String) async throws(BlockError) {
    let daemon = Daemon(self)
    guard LinuxFileSystem().exists(path), try daemon.isRunning else { return }
    let ids: [String]
    do throws(BlockError) {
      ids = try await daemon.unstarted.call(.get, Self.query("/v1/attachment-dependants", path))
    } catch  where error.kind == .disconnected {
      // It has ended meanwhile, with nothing attached.
      return
    }
    guard ids.isEmpty else {
      throw BlockError(
        .conflict, step: step, object: path, cause: "\(ids.joined(separator: ", ")) is attached and uses it",
        remedy: "Choose another file, or detach it first: ashlar detach.")
    }
  }

  static func query(_ route: String, _ path: String) -> String {
    var query = URLComponents()
    query.queryItems = [URLQueryItem(name: "path", value: path)]
    return "\(route)?\(query.percentEncodedQuery ?? "")"
  }
}
