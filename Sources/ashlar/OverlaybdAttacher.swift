import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Images

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
  /// The original reads them as Go programs do: one dash is as good as two, and a flag may have its value behind "=".
  static func arguments(_ given: some Sequence<String>) -> [String] {
    var result: [String] = []
    var isValue = false
    for argument in given {
      if isValue || !argument.hasPrefix("-") {
        result.append(argument)
        isValue = false
        continue
      }
      let parts = argument.drop { $0 == "-" }.split(separator: "=", maxSplits: 1)
      let name = parts.first.map(String.init) ?? ""
      switch (name, parts.count) {
      case ("id", 1), ("config", 1):
        isValue = true
        result.append("--\(name)")
      case ("id", 2), ("config", 2): result.append("--\(name)=\(parts[1])")
      case ("with-devid", 1), ("verbose", 1): result.append("--\(name)")
      case ("with-devid", 2), ("verbose", 2), ("v", 2):
        switch parts[1] {
        case "1", "t", "T", "TRUE", "true", "True": result.append(name == "v" ? "-v" : "--\(name)")
        case "0", "f", "F", "FALSE", "false", "False": break
        default: result.append(argument)
        }
      default: result.append(argument)
      }
    }
    return result
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
      let id = try AttachmentID(id)
      let reference = ImageReference(
        .overlaybd, config, relativeTo: FileManager.default.currentDirectoryPath)
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
      let id = try AttachmentID(id)
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
