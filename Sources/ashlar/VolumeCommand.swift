import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Images
import LinuxIO
import Volumes

/// `ashlar volume`.
struct VolumeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "volume", abstract: "Write images to block devices that remember which one they hold.",
    subcommands: [Format.self, Check.self, Map.self, Unmap.self, List.self])

  /// `ashlar volume format`.
  struct Format: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "format",
      abstract:
        "Write an image to a device, and in front of it which one it is; nothing if it is there already.")

    @Argument(help: "The block device.")
    var device: String

    @Option(help: "The raw image.")
    var image: String

    @Option(help: "What the image's SHA-256 has to be.")
    var sha256: String?

    @Option(help: "Where the content begins: sector, as virtlet has it, or aligned, at 1 MiB.")
    var layout: String?

    @Flag(
      help:
        "Overwrite data that is no volume's, and write an image again that is there, over what became of it.")
    var force = false

    @Flag(
      help: "Take the image's bytes as they are, also if they are those of a qcow2 or another disk format.")
    var rawBytes = false

    @Flag(help: "Print one JSON object.")
    var json = false

    @OptionGroup var instance: InstanceOptions

    func run() async throws {
      let options = try VolumeSummary.options(
        layout: layout, sha256: sha256, isForced: force, takesContainers: rawBytes)
      let volume = try HeaderVolume(device)
      try await instance.checkIsNoSandboxes(volume.path, "format")
      let result = try await ProgressBar("format").show { progress async throws(BlockError) in
        try await volume.format(
          image: image, options, expect: { progress.expect($0) }, advance: { progress.advance(by: $0) })
      }
      if json { return try Output.json(VolumeSummary(volume, result)) }
      switch result.outcome {
      case .written: Output.line("\(volume.path) holds the image now")
      case .there: Output.line("\(volume.path) holds that image already")
      case .kept:
        Output.line(
          "\(volume.path) is kept: it was made from that image, and its content is not the image's any more; "
            + "--force writes it again")
      }
    }
  }

  /// `ashlar volume check`.
  struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "check", abstract: "Say what a device holds: its content is read.",
      discussion: "Exit status 1 unless all of an image is there, as it was written.")

    @Argument(help: "The block device.")
    var device: String

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
      let summary = try await VolumeSummary(try HeaderVolume(device), readsContent: true)
      if json {
        try Output.json(summary)
      } else {
        Output.line(
          "\(summary.volume): \(summary.state)\(summary.sha256.map { ", image sha256:\($0)" } ?? "")")
      }
      if summary.state != "complete" { throw ExitCode(1) }
    }
  }

  /// `ashlar volume map`.
  struct Map: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "map", abstract: "Make a device of what is behind the header, and print its path.")

    @Argument(help: "What to call it: \(MappedVolume.namePrefix)NAME.")
    var name: String

    @Argument(help: "The block device.")
    var device: String

    @Flag(help: "Read the content first, and refuse one that is not the image's, or that cannot be told.")
    var confirmed = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
      let mapper = try VolumeMapper(clock: LinuxClock())
      let made = try await mapper.map(name, try HeaderVolume(device), isUnconfirmedTaken: !confirmed)
      if json { try Output.json(VolumeSummary(made)) } else { Output.line(made.path) }
    }
  }

  /// `ashlar volume unmap`.
  struct Unmap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "unmap", abstract: "Take a mapped volume apart; its content stays.")

    @Argument(help: "What it is called.")
    var name: String

    @Flag(help: "Also one that another program has made.")
    var force = false

    func run() async throws {
      try await VolumeMapper(clock: LinuxClock()).unmap(name, isForced: force)
    }
  }

  /// `ashlar volume ls`.
  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the mapped volumes.")

    @Flag(help: "Print an array of JSON objects.")
    var json = false

    func run() async throws {
      let found = try await VolumeMapper(clock: LinuxClock()).list().map(VolumeSummary.init)
      if json { return try Output.json(found) }
      Output.table(
        ["NAME", "VOLUME", "STATE", "SIZE", "IMAGE"],
        found.map { [$0.name ?? "-", $0.volume, $0.state, Output.size($0.size), $0.sha256 ?? "-"] })
    }
  }
}
