import ArgumentParser
import Attachments
import BlockCore
import CLinux
import Glibc
import LinuxIO

/// The command.
@main
struct Ashlar: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ashlar", abstract: "Turns images into Linux block devices.", version: Release.version,
    subcommands: [
      AttachCommand.self, DetachCommand.self, ListCommand.self, InspectCommand.self, ResetCommand.self,
      MountCommand.self, UnmountCommand.self, ImageCommand.self, DoctorCommand.self, DaemonCommand.self,
      VolumeCommand.self, SandboxCommand.self,
    ])

  /// Exit status 0 for success, 1 for a failure, 2 for a wrong call.
  static func main() async {
    signal(SIGPIPE, SIG_IGN)
    ProgramText.keepRightsOfOwner()
    occupyStandardStreams()
    do throws(BlockError) {
      try ProgramText.checkArguments()
    } catch {
      Output.fail(error, isJSON: CommandLine.arguments.contains("--json"))
    }
    if Output.isAttacher {
      await run(
        OverlaybdAttacher.self, OverlaybdAttacher.arguments(CommandLine.arguments.dropFirst()), wrongCall: 1)
    } else {
      let arguments = Array(CommandLine.arguments.dropFirst())
      if let option = RepeatedOptions.first(in: arguments, of: Ashlar.self) {
        Output.page("Error: \(option) is there twice: name one.", isError: true)
        Glibc.exit(2)
      }
      await run(Ashlar.self, arguments, wrongCall: 2)
    }
  }

  /// Occupies the numbers of standard streams that were closed, or a file that is opened later would get the answer.
  ///
  /// What stands there cannot be written to, so that the answer's loss is said.
  private static func occupyStandardStreams() {
    for number in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where clinux_fcntl(number, F_GETFD, 0) < 0 {
      // The lowest number that is free, which is this one. Without /dev/null there is nothing to be done about it.
      _ = clinux_open("/dev/null", O_RDONLY, 0)
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
