import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Images
import LinuxIO

/// The command under the name of overlaybd's attacher: the same options, output and exit statuses.
///
/// Every failure is exit status 1, a wrong call too, as there.
struct OverlaybdAttacher: AsyncParsableCommand {
  /// The name that a program is called by to be this.
  static let name = "overlaybd-attacher"

  static let configuration = CommandConfiguration(
    commandName: name, abstract: "Makes block devices of overlaybd images over TCMU.",
    version: Release.version, subcommands: [Attach.self, Detach.self, List.self])

  /// The arguments of a call as our parser takes them.
  ///
  /// The original reads them as Go's package `flag` does: one dash is as good as two, what follows an option is its
  /// value whatever it looks like, a flag may have its value behind "=", and of two the last one holds. What is wrong
  /// there stays as it is, for our parser to refuse.
  static func arguments(_ given: some Sequence<String>) -> [String] {
    var rest = Array(given)[...]
    var result: [String] = []
    var flags: [String: Bool] = [:]
    while let argument = rest.popFirst() {
      if argument == "--" {
        result += [argument] + rest
        break
      }
      guard let option = GoOption(argument) else {
        result.append(argument)
        continue
      }
      switch (option.name, option.value) {
      case ("id", nil), ("config", nil):
        if let value = rest.popFirst() { result += option.with(value) } else { result.append(argument) }
      case ("id", let value?), ("config", let value?): result += option.with(value)
      case ("with-devid", _), ("verbose", _), ("v", _):
        // Without a command it asks for the version.
        if option.name == "v", result.isEmpty { return ["--version"] }
        if let isOn = option.truth {
          flags[option.name] = isOn
        } else {
          // Our parser takes nothing behind the sign for no value.
          result.append(option.value == "" ? "\(argument)\"\"" : argument)
        }
      case ("version", nil), ("help", nil), ("h", nil):
        result.append("--\(option.name == "h" ? "help" : option.name)")
      default: result.append(argument)
      }
    }
    return result + flags.filter(\.value).keys.sorted().map { $0 == "v" ? "--verbose" : "--\($0)" }
  }

  /// An option as Go writes it.
  private struct GoOption {
    let name: String
    let value: String?

    /// What a flag is set to; `nil` if that is neither true nor false.
    var truth: Bool? {
      switch value {
      case nil, "1", "t", "T", "TRUE", "true", "True": true
      case "0", "f", "F", "FALSE", "false", "False": false
      default: nil
      }
    }

    /// The option with its value, in words of which our parser takes none for something else.
    func with(_ value: String) -> [String] { value.isEmpty ? ["--\(name)", ""] : ["--\(name)=\(value)"] }

    /// Reads an argument; `nil` if it is none.
    init?(_ argument: String) {
      guard argument.hasPrefix("-") else { return nil }
      let text = argument.dropFirst(argument.hasPrefix("--") ? 2 : 1)
      guard let first = text.first, first != "-", first != "=" else { return nil }
      let sign = text.firstIndex(of: "=")
      name = String(text[..<(sign ?? text.endIndex)])
      value = sign.map { String(text[text.index(after: $0)...]) }
    }
  }

  /// `overlaybd-attacher attach`.
  struct Attach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "attach", abstract: "Make a block device of an image, and print its path.")

    @OptionGroup var instance: InstanceOptions

    @Option(help: "What to call it: 1 to 13 characters.")
    var id: String

    @Option(help: ArgumentHelp("The image's configuration.", valueName: "config.v1.json"))
    var config: String

    @Flag(name: .shortAndLong, help: "Say more on standard error.")
    var verbose = false

    @Flag(name: .customLong("with-devid"), help: "End the backstore's configuration with the ID.")
    var withDevID = false

    func run() async throws {
      let id = try AttachmentID(id, atMost: Limits.targetIDBytes)
      let reference = ImageReference(
        .overlaybd, config, relativeTo: try ProgramText.workingDirectory())
      var request = AttachRequest(
        id: id.text, image: "\(reference)", transport: TransportChoice.tcmu.rawValue, readOnly: nil)
      request.withDevID = withDevID
      let info = try await AttachCommand.attach(request, reference, instance)
      if verbose {
        Output.note("\(OverlaybdAttacher.name): \(id) is \(info.device ?? "?"), \(Output.size(info.size))")
      }
      Output.line(info.device ?? "")
    }
  }

  /// `overlaybd-attacher detach`.
  struct Detach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "detach", abstract: "Take a block device apart.")

    @OptionGroup var instance: InstanceOptions

    @Option(help: "What it is called.")
    var id: String

    @Flag(name: .shortAndLong, help: "Say more on standard error.")
    var verbose = false

    func run() async throws {
      let id = try AttachmentID(id, atMost: Limits.targetIDBytes)
      _ = try await DetachCommand.detach(id, force: false, instance)
      if verbose { Output.note("\(OverlaybdAttacher.name): \(id) is gone") }
    }
  }

  /// `overlaybd-attacher list`, which the original does not have.
  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List what is attached: IDs and devices.")

    @OptionGroup var instance: InstanceOptions

    func run() async throws {
      let infos: [AttachmentInfo] = try await instance.withManager { client async throws(BlockError) in
        try await client.call(.get, "/v1/attachments")
      }
      for info in infos where info.backstore != nil {
        Output.line("\(info.id) \(info.device ?? "-")")
      }
    }
  }
}
