import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import LinuxIO

extension DaemonCommand {
  /// `ashlar daemon upgrade`.
  struct Upgrade: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Go over to the release that is installed now, with the devices in use.",
      discussion:
        "The manager first, then the data server of each device. Requests wait meanwhile; none fails.")

    /// How long the new manager may take until it answers.
    private static let deadline = Duration.seconds(60)

    @OptionGroup var instance: InstanceOptions

    func run() async throws {
      let daemon = Daemon(instance)
      let client = daemon.unstarted
      guard try daemon.isRunning else {
        throw BlockError(
          .unavailable, step: "upgrade", object: "the manager of \(instance.directories.run)",
          cause: "none is running", remedy: "Start the one that is installed now: ashlar daemon start.")
      }
      let old: ManagerStatus = try await client.call(.post, "/v1/restart")
      let new = try await successor(of: old, client)
      Output.line("manager: \(old.version) to \(new.version), process \(new.pid)")
      try await handOverAll(client)
    }

    /// Waits for the manager that comes after one.
    private func successor(
      of old: ManagerStatus, _ client: APIClient
    ) async throws(BlockError) -> ManagerStatus {
      let clock = LinuxClock()
      let end = clock.now + Self.deadline
      while true {
        // For a moment neither of them listens.
        if let status = try await DaemonCommand.ask(client, .get, "/v1/status"),
          status.startedAt != old.startedAt
        {
          return status
        }
        guard clock.now < end else {
          throw BlockError(
            .timedOut, step: "upgrade", object: "the manager (process \(old.pid))",
            cause: "its successor has not answered within \(Self.deadline)",
            remedy: "Look into \(instance.directories.log), or the journal of the service.")
        }
        try await clock.pause(for: .milliseconds(20))
      }
    }

    /// One device after the other; one that fails keeps no other from its turn.
    private func handOverAll(_ client: APIClient) async throws {
      let all: [AttachmentInfo] = try await client.call(.get, "/v1/attachments")
      let clock = LinuxClock()
      var failures = 0
      for (index, info) in all.enumerated() {
        let place = "[\(index + 1)/\(all.count)] \(info.id)"
        guard info.backstore != nil, info.backstore?.role != .foreign else {
          Output.line("\(place): keeps its data server until it is detached")
          continue
        }
        let begin = clock.now
        do throws(BlockError) {
          let path = "/v1/attachments/\(info.id.escapedInURL)/hand-over"
          let after: AttachmentInfo = try await client.call(.post, path)
          let time = (clock.now - begin).components
          let milliseconds = time.seconds * 1000 + time.attoseconds / 1_000_000_000_000_000
          Output.line(
            "\(place): process \(info.server?.pid ?? 0) to \(after.server?.pid ?? 0), \(milliseconds) ms")
        } catch {
          failures += 1
          Output.note("ashlar: \(place): \(error)")
        }
      }
      guard failures == 0 else {
        throw BlockError(
          .unavailable, step: "upgrade", object: "\(failures) of \(all.count) devices",
          cause: "they were not handed over; see above", remedy: "It may be tried again.")
      }
    }
  }
}
