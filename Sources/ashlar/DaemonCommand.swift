import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import LinuxIO

/// `ashlar daemon`.
struct DaemonCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "daemon", abstract: "Start, stop and look at the manager.",
    subcommands: [Start.self, Status.self, Stop.self, Upgrade.self, Recover.self])

  /// `ashlar daemon start`.
  struct Start: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Start the manager, to stay until it is stopped.")

    @OptionGroup var instance: InstanceOptions

    func run() async throws {
      let daemon = Daemon(instance)
      guard try daemon.isRunning else { return try await daemon.start(idleExit: 0) }
      // It may be one that a command has started and that would end by itself.
      let status: ManagerStatus = try await daemon.unstarted.call(.post, "/v1/keep", patience: .quick)
      Output.note("ashlar: the manager runs already, as process \(status.pid), and stays")
    }
  }

  /// `ashlar daemon status`.
  struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say whether the manager runs; exit status 1 if not.")

    @OptionGroup var instance: InstanceOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
      let directories = instance.directories
      let daemon = Daemon(instance)
      guard try daemon.isRunning else {
        if let holder = daemon.holder { throw Daemon.unreachable(holder, directories) }
        throw BlockError(
          .unavailable, step: "speak to", object: "the manager of \(directories.run)",
          cause: "none is running",
          remedy: "Every command starts one when it needs one; to have one stay: ashlar daemon start.")
      }
      let status: ManagerStatus = try await daemon.unstarted.call(.get, "/v1/status")
      if json { return try Output.json(status) }
      Output.line(
        "manager \(status.version) runs as process \(status.pid) with \(status.attachments) attachments, "
          + "root \(status.root), run \(status.run)")
    }
  }

  /// The manager's answer; `nil` if it ends before it has answered: by itself, or because it was asked to.
  static func ask(
    _ client: APIClient, _ method: APIClient.Method, _ path: String
  ) async throws(BlockError) -> ManagerStatus? {
    do throws(BlockError) {
      return try await client.call(method, path, patience: .quick)
    } catch  where error.kind == .disconnected {
      return nil
    }
  }
}
