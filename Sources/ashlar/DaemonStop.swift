import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import Glibc
import LinuxIO

extension DaemonCommand {
  /// `ashlar daemon stop`.
  struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Stop the manager; devices stay, and the next manager takes them over.",
      discussion: "A manager that cannot be spoken to is found by its lock, and told by a signal.")

    /// How long a manager may take to end.
    private static let deadline = Duration.seconds(10)

    @OptionGroup var instance: InstanceOptions

    @Flag(help: "Kill it if it does not end; what it was about to do is undone by the next one.")
    var force = false

    func run() async throws {
      let daemon = Daemon(instance)
      guard let process = try await ask(daemon) else { return Output.note("ashlar: no manager is running") }
      if try await hasEnded(process) { return }
      guard force else {
        throw BlockError(
          .timedOut, step: "stop", object: "the manager (process \(process.pid))",
          cause: process.isStopped ? "it is stopped" : "it has not ended within \(Self.deadline)",
          remedy: "Kill it: ashlar daemon stop --force. Devices stay.")
      }
      process.kill()
      if try await hasEnded(process) { return }
      throw BlockError(
        .timedOut, step: "kill", object: "the manager (process \(process.pid))",
        cause: "it waits in the kernel", remedy: "See /proc/\(process.pid)/stack for what it waits for.")
    }

    /// Asks the manager to end, over its socket or by a signal.
    ///
    /// - Returns: Its process; `nil` if there is none.
    private func ask(_ daemon: Daemon) async throws(BlockError) -> ProcessIdentity? {
      let holder = daemon.holder
      if holder?.isStopped == true {
        if force { holder?.kill() }
        return holder
      }
      do throws(BlockError) {
        if try daemon.isRunning,
          let status = try await DaemonCommand.ask(daemon.unstarted, .post, "/v1/shutdown")
        {
          return ProcessIdentity(pid: status.pid) ?? holder
        }
      } catch  where error.kind == .timedOut && holder != nil {
        Output.note("ashlar: the manager does not answer; it is told by a signal")
      }
      holder?.send(SIGTERM)
      return holder
    }

    private func hasEnded(_ process: ProcessIdentity) async throws(BlockError) -> Bool {
      let clock = LinuxClock()
      let end = clock.now + Self.deadline
      var left: Duration?
      while process.isAlive {
        if ProcessIdentity.isOnlyLeft(process.pid) {
          // As a rule it is about to be gone. What the kernel keeps of it longer is in nobody's way.
          if let left, clock.now - left > .seconds(1) { return true }
          left = left ?? clock.now
        }
        guard clock.now < end, force || !process.isStopped else { return false }
        try await clock.pause(for: .milliseconds(10))
      }
      return true
    }
  }
}
