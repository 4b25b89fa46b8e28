import ArgumentParser
import Attachments
import BlockCore
import Glibc
import LinuxIO

/// The command.
@main
struct Ashlar: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ashlar", abstract: "Turns images into Linux block devices.", version: Release.version,
    subcommands: [
      AttachCommand.self, DetachCommand.self, ListCommand.self, InspectCommand.self, MountCommand.self,
      UnmountCommand.self, ImageCommand.self, DoctorCommand.self, DaemonCommand.self,
      VolumeCommand.self, SandboxCommand.self,
    ])

  /// Exit status 0 for success, 1 for a failure, 2 for a wrong call.
  static func main() async {
    signal(SIGPIPE, SIG_IGN)
    do throws(BlockError) {
      try ProgramText.checkArguments()
    } catch {
      Output.fail(error, isJSON: CommandLine.arguments.contains("--json"))
    }
    let name = CommandLine.arguments.first?.split(separator: "/").last
    if name == Substring(OverlaybdAttacher.name) {
      await run(
        OverlaybdAttacher.self, OverlaybdAttacher.arguments(CommandLine.arguments.dropFirst()), wrongCall: 1)
    } else {
      await run(Ashlar.self, Array(CommandLine.arguments.dropFirst()), wrongCall: 2)
    }
  }

  private static func run<Root: AsyncParsableCommand>(
    _ root: Root.Type, _ arguments: [String], wrongCall: Int32
  ) async {
    do {
      var command = try root.parseAsRoot(arguments)
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch let error as BlockError {
      Output.fail(error, isJSON: CommandLine.arguments.contains("--json"))
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch {
      // Help and version come as errors, too.
      let text = root.fullMessage(for: error)
      if root.exitCode(for: error).isSuccess {
        Output.page(text, isError: false)
        Glibc.exit(0)
      }
      Output.page(text, isError: true)
      Glibc.exit(wrongCall)
    }
  }
}
