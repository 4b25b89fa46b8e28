import ArgumentParser
import Attachments
import BlockCore
import ControlClient
import FoundationEssentials
import Images
import LinuxIO

/// `ashlar sandbox`.
struct SandboxCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sandbox", abstract: "Make private writable disks over shared images, kept by the kernel.",
    subcommands: [
      Create.self, Pause.self, Resume.self, Remove.self, List.self, Inspect.self, Flatten.self, Fork.self,
      Merge.self, GarbageCollection.self,
    ])

  /// `ashlar sandbox create`.
  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "create", abstract: "Make a sandbox, and print its device's path.")

    @OptionGroup var instance: InstanceOptions

    @Argument(help: "What to call it.")
    var name: String

    @Option(help: "The raw image that it begins as; it is not changed.")
    var base: String

    @Option(help: "The size of its disk, such as 20G; the image's if not given.")
    var size: String?

    @Option(help: "A new file for its changes; one of the instance's own if not given.")
    var store: String?

    @Option(help: "How changes are kept: snapshot or thin; thin with a quota, and otherwise snapshot.")
    var driver: String?

    @Option(help: "The most that its changes may take, such as 2G; writers get ENOSPC then.")
    var quota: String?

    @Flag(
      help: "Take the base's bytes as they are, also if they are those of a qcow2 or another disk format.")
    var rawBytes = false

    @Flag(help: "Print everything about it as JSON.")
    var json = false

    func run() async throws {
      var request = SandboxRequest(name: name, base: try ProgramText.absolute(base))
      request.size = try size.map(SandboxOptions.bytes)
      request.quota = try quota.map(SandboxOptions.bytes)
      request.store = try store.map { (path) throws(BlockError) in try ProgramText.absolute(path) }
      request.driver = try driver.map(SandboxOptions.driver)
      request.rawBytes = rawBytes ? true : nil
      let instance = self.instance
      let info: SandboxInfo = try await instance.withManager { [request] client async throws(BlockError) in
        let paths = [request.base, request.store].compactMap(\.self)
        try await instance.checkIsSameFile(paths, "create from", client)
        return try await client.call(.post, "/v1/sandboxes", body: request)
      }
      try SandboxOptions.show(info, json)
    }
  }

  /// `ashlar sandbox pause`.
  struct Pause: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "pause", abstract: "Take a sandbox's device away and keep its changes.")

    @OptionGroup var options: SandboxOptions

    func run() async throws { try options.report(try await options.call(.post, "/pause")) }
  }

  /// `ashlar sandbox resume`.
  struct Resume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "resume", abstract: "Make a paused sandbox's device again, and print its path.")

    @OptionGroup var options: SandboxOptions

    func run() async throws {
      try SandboxOptions.show(try await options.call(.post, "/resume"), options.json)
    }
  }

  /// `ashlar sandbox rm`.
  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rm", abstract: "Remove a sandbox with its changes.")

    @OptionGroup var options: SandboxOptions

    @Flag(help: "Take its device away from those who use it; they get I/O errors.")
    var force = false

    func run() async throws {
      let gone: SandboxGone = try await options.call(.delete, force ? "?force=true" : "")
      if options.json { try Output.json(gone) }
    }
  }

  /// `ashlar sandbox ls`.
  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the sandboxes.")

    @OptionGroup var instance: InstanceOptions

    @Flag(help: "Print an array of JSON objects.")
    var json = false

    func run() async throws {
      let infos: [SandboxInfo] = try await instance.withManager { client async throws(BlockError) in
        try await client.call(.get, "/v1/sandboxes")
      }
      if json { return try Output.json(infos) }
      Output.table(
        ["NAME", "DEVICE", "STATE", "SIZE", "CHANGES", "DRIVER", "BASE"],
        infos.map { info in
          [
            info.name, info.device ?? "-", info.state.rawValue, Output.size(info.size),
            info.store.allocated.map(Output.size) ?? "?", info.store.driver.rawValue, info.base.path,
          ]
        })
      for info in infos { if let problem = info.problem { Output.note("ashlar: \(info.name): \(problem)") } }
    }
  }

  /// `ashlar sandbox inspect`.
  struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "inspect", abstract: "Tell everything about one sandbox.")

    @OptionGroup var options: SandboxOptions

    func run() async throws { try options.report(try await options.call(.get, "")) }
  }

  /// `ashlar sandbox fork`.
  struct Fork: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "fork", abstract: "Make a second sandbox with what one holds now.")

    @OptionGroup var options: SandboxOptions

    @Argument(help: "What to call the new one.")
    var new: String

    func run() async throws {
      let body = SandboxTarget(target: new)
      try SandboxOptions.show(try await options.call(.post, "/fork", body), options.json)
    }
  }

  /// `ashlar sandbox merge`.
  struct Merge: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "merge", abstract: "Write a sandbox's changes into its base; it is no more then.")

    @OptionGroup var options: SandboxOptions

    func run() async throws {
      let gone: SandboxGone = try await options.call(.post, "/merge")
      if options.json { try Output.json(gone) }
    }
  }

  /// `ashlar sandbox gc`.
  struct GarbageCollection: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "gc", abstract: "Remove what is left of sandboxes that are no more.")

    @OptionGroup var instance: InstanceOptions

    @Flag(help: "Print what was removed as JSON.")
    var json = false

    func run() async throws {
      let gone: SandboxGone = try await instance.withManager { client async throws(BlockError) in
        try await client.call(.post, "/v1/sandboxes/gc")
      }
      if json { return try Output.json(gone) }
      for text in gone.removed { Output.line("removed \(text)") }
    }
  }
}
