import BlockCore
import DataServer
import FoundationEssentials
import Glibc
import Handlers
import LinuxIO
import Logging
import Synchronization

/// A program that serves the disks of one handler: the main of a handler in Swift.
///
/// The manager starts it in the place of `ashlard serve`, one process for each disk, and asks it what it is.
///
/// - `--listener FD`: serves one disk, ordered over the listening socket with that descriptor.
/// - `--describe`: prints the handler's ``Handlers/HandlerDescription`` as JSON.
/// - `--check CONFIGURATION`: prints a ``Handlers/HandlerVerdict`` as JSON; the exit status is 0 if it is valid.
public enum HandlerProgram {
  /// Does what the program's arguments say, and ends the process.
  public static func main(_ handler: some Handler) async -> Never {
    checkArguments()
    keepAnswersApart()
    await run(handler, kind: .program, Array(CommandLine.arguments.dropFirst()))
  }

  /// Ends the process if an argument is not UTF-8: it would be taken for another one.
  public static func checkArguments() {
    do throws(BlockError) {
      try ProgramText.checkArguments()
    } catch {
      say("\(error)\n", to: STDERR_FILENO)
      exit(64)
    }
  }

  /// Does what arguments say, and ends the process.
  ///
  /// - Parameters:
  ///   - handler: The handler.
  ///   - kind: How it is built.
  ///   - arguments: The arguments, without the program's name.
  public static func run(
    _ handler: some Handler, kind: HandlerDescription.Kind, _ arguments: [String]
  ) async -> Never {
    switch (arguments.first, arguments.count) {
    case ("--describe", 1):
      answer(
        HandlerDescription(subtype: handler.subtype, description: handler.summary, kind: kind), status: 0)
    case ("--check", 2): await check(arguments[1], with: handler)
    case ("--listener", 2):
      guard let listener = Int32(arguments[1]), listener >= 0 else { break }
      let log = Logger(
        label: "ashlar handler \(handler.subtype) \(getpid())",
        factory: { StreamLogHandler.standardError(label: $0) })
      // Straight out: what the queues' threads still hold goes with the process.
      _exit(await DataServer.run(listener: listener, log: log, handler: handler))
    default: break
    }
    say("usage: --listener FD | --describe | --check CONFIGURATION\n", to: STDERR_FILENO)
    exit(64)
  }

  private static func check(_ configuration: String, with handler: some Handler) async -> Never {
    do throws(BlockError) {
      try await handler.check(configuration)
    } catch {
      answer(HandlerVerdict(isValid: false, message: "\(error)"), status: 1)
    }
    answer(HandlerVerdict(isValid: true, message: "success"), status: 0)
  }

  /// Where answers go: what was the standard output when the process began.
  private static let answers = Mutex(STDOUT_FILENO)

  /// Has what a handler's own code prints go to the standard error, so that it is no part of an answer; to be called
  /// once, before any such code runs.
  public static func keepAnswersApart() {
    let copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
    guard copy >= 0, dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 else { return }
    answers.withLock { $0 = copy }
  }

  /// Writes a text where answers go.
  public static func answer(_ text: String) { say(text, to: answers.withLock { $0 }) }

  private static func answer(_ message: some Encodable, status: Int32) -> Never {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      answer(String(decoding: try encoder.encode(message), as: UTF8.self) + "\n")
    } catch {
      say("\(error)\n", to: STDERR_FILENO)
      exit(70)
    }
    exit(status)
  }

  /// Writes a text; nothing is left to be done if nobody reads it.
  public static func say(_ text: String, to descriptor: Int32) {
    let bytes = Array(text.utf8)
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes {
        write(descriptor, $0.baseAddress?.advanced(by: written), $0.count - written)
      }
      guard count > 0 else { return }
      written += count
    }
  }
}
