import ArgumentParser
import Attachments
import BlockCore
import DataServer
import Glibc
import LinuxIO
import Logging

/// The daemon: the manager, or, as `ashlard serve`, the server of one device.
@main
struct Ashlard: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ashlard", abstract: "Keeps Ashlar's block devices.", version: Release.version,
    subcommands: [ManageCommand.self, ServeCommand.self], defaultSubcommand: ManageCommand.self)

  /// Refuses arguments that would be taken for others; then as any command.
  static func main() async {
    ProgramText.keepRightsOfOwner()
    LinuxProcess.makeRoomForDescriptors()
    do throws(BlockError) {
      try ProgramText.checkArguments()
    } catch {
      logger("ashlard", isVerbose: false).error("\(error)")
      Glibc.exit(64)
    }
    await main(nil)
  }

  /// A log on standard error.
  static func logger(_ label: String, isVerbose: Bool) -> Logger {
    AdjustableLog.current = isVerbose ? .debug : .info
    return Logger(label: label, factory: { AdjustableLog.Handler(label: $0) })
  }

  /// Ends the process with an error that has been reported.
  static func fail(_ error: BlockError, _ log: Logger) -> ExitCode {
    log.error("\(error)")
    return ExitCode.failure
  }
}

/// Serves one device; started by the manager.
struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Serve one device (started by the manager).", shouldDisplay: false)

  @Option(help: "The descriptor of the socket that the manager speaks over.")
  var listener: Int32

  func run() async throws {
    let status = await DataServer.run(
      listener: listener, log: Ashlard.logger("ashlard serve \(getpid())", isVerbose: false))
    // Straight out: what the queues' threads still hold goes with the process.
    _exit(status)
  }
}
