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
      let daemon = Daemon(instance.directories)
      guard try daemon.isRunning else { return try await daemon.start(idleExit: 0) }
      // It may be one that a command has started and that would end by itself.
      let client = APIClient(socket: instance.directories.apiSocket)
      let status: ManagerStatus = try await client.call(.post, "/v1/keep")
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
      guard try Daemon(directories).isRunning else {
        throw BlockError(
          .unavailable, step: "speak to", object: "the manager of \(directories.run)",
          cause: "none is running",
          remedy: "Every command starts one when it needs one; to have one stay: ashlar daemon start.")
      }
      let status: ManagerStatus = try await APIClient(socket: directories.apiSocket).call(.get, "/v1/status")
      if json { return try Output.json(status) }
      Output.line(
        "manager \(status.version) runs as process \(status.pid) with \(status.attachments) attachments, "
          + "root \(status.root), run \(status.run)")
    }
  }

  /// `ashlar daemon stop`.
  struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Stop the manager; devices stay, and the next manager takes them over.")

    @OptionGroup var instance: InstanceOptions

    func run() async throws {
      let directories = instance.directories
      let daemon = Daemon(directories)
      let client = APIClient(socket: directories.apiSocket)
      guard try daemon.isRunning, let status = try await DaemonCommand.ask(client, .get, "/v1/status") else {
        return Output.note("ashlar: no manager is running")
      }
      _ = try await DaemonCommand.ask(client, .post, "/v1/shutdown")
      let process = ProcessIdentity(pid: status.pid)
      let clock = LinuxClock()
      let end = clock.now + .seconds(10)
      while let process, process.isAlive {
        guard clock.now < end else {
          throw BlockError(
            .timedOut, step: "stop", object: "the manager (process \(status.pid))", cause: "it has not ended",
            remedy: "Look into \(directories.log).")
        }
        try await clock.sleep(for: .milliseconds(10))
      }
    }

  }

  /// The manager's answer; `nil` if it ends before it has answered: by itself, or because it was asked to.
  static func ask(
    _ client: APIClient, _ method: APIClient.Method, _ path: String
  ) async throws(BlockError) -> ManagerStatus? {
    do throws(BlockError) {
      return try await client.call(method, path)
    } catch  where error.kind == .disconnected {
      return nil
    }
  }
}
