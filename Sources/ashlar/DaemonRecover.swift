import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import LinuxIO

extension DaemonCommand {
  /// `ashlar daemon recover`.
  struct Recover: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write a damaged or lost journal anew, from the devices that are there.",
      discussion: "A damaged journal is put aside: journal.sqlite.damaged-N. The devices stay in use.")

    @OptionGroup var instance: InstanceOptions

    @Flag(help: "Print what came of it as JSON.")
    var json = false

    func run() async throws {
      let daemon = Daemon(instance)
      if try !daemon.isRunning {
        try await daemon.start(idleExit: Daemon.idleSeconds, options: ["--recover"])
      }
      let client = daemon.unstarted
      let reply: RecoveryReply = try await client.call(.post, "/v1/recover")
      if json { return try Output.json(reply) }
      for path in reply.putAside { Output.note("ashlar: a damaged journal was put aside: \(path)") }
      for info in reply.attachments {
        Output.line("\(info.id): \(info.device ?? "-") is \(info.state.rawValue)")
        if let problem = info.problem { Output.note("ashlar: \(info.id): \(problem)") }
      }
      if reply.attachments.isEmpty { Output.note("ashlar: nothing is there that the journal does not know") }
    }
  }
}
