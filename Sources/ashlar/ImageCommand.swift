import ArgumentParser
import Attachments
import BlockCore
import FoundationEssentials
import Glibc
import Images
import LinuxIO
import UnixSignals

/// `ashlar image`.
struct ImageCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image", abstract: "Look at images, check them, copy them out.",
    subcommands: [Info.self, Verify.self, Extract.self])

  /// Opens an image for reading, as a user names it.
  static func open(_ text: String) async throws(BlockError) -> Image {
    let reference = try ImageReference(text, relativeTo: try ProgramText.workingDirectory())
    return try await Image.open(
      reference, ImageOptions(isReadOnly: true, writesResultFile: false), .linux)
  }

  /// As many tasks as there are processors.
  static var taskCount: Int { max(Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))), 1) }

  /// Runs a body where waiting for a disk holds up nobody else.
  static func onBlockingThreads<Value: Sendable>(
    _ body: @Sendable () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    try await withTaskExecutorPreference(BlockingExecutor(label: "image"), operation: body)
  }

  /// Runs a body that is called off, and puts things in order, when the process is asked to end.
  static func untilAskedToEnd<Value: Sendable>(
    _ body: @escaping @Sendable () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    // Before there is anything to put in order.
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
    let work = Task { () -> Result<Value, BlockError> in
      do throws(BlockError) {
        return .success(try await body())
      } catch {
        return .failure(error)
      }
    }
    let watch = Task {
      for await _ in signals { work.cancel() }
    }
    defer { watch.cancel() }
    return try await work.value.get()
  }

  /// `ashlar image info`.
  struct Info: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say what an image is: its layers, formats, sizes, extents, UUIDs.")

    @Argument(help: "The image: PATH, overlaybd:PATH, raw:PATH or raw-bytes:PATH.")
    var image: String

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
      let text = image
      let summary = try await onBlockingThreads { () async throws(BlockError) in try await open(text).summary
      }
      if json { try Output.json(summary) } else { show(summary) }
    }
  }

  /// `ashlar image verify`.
  struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Read all of an image and check every checksum and every extent.",
      discussion: "Exit status 1 if anything is damaged.")

    @Argument(help: "The image: PATH, overlaybd:PATH, raw:PATH or raw-bytes:PATH.")
    var image: String

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
      let text = image
      let bar = ProgressBar("verifying")
      let verification = try await onBlockingThreads { () async throws(BlockError) in
        let opened = try await open(text)
        return try await bar.show { progress async throws(BlockError) in
          try await opened.verify(taskCount: taskCount, progress)
        }
      }
      if json {
        try Output.json(verification)
      } else {
        for finding in verification.findings {
          Output.line("\(finding.severity.rawValue): \(finding.file): \(finding.text)")
        }
        Output.line(
          "\(verification.isSound ? "sound" : "DAMAGED"): \(Output.size(verification.checkedBytes)) checked, "
            + "\(Output.size(verification.uncheckedBytes)) read without a checksum")
      }
      if !verification.isSound { throw ExitCode(1) }
    }
  }

  /// `ashlar image extract`.
  struct Extract: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write the content of an image to a sparse raw file.")

    @Argument(help: "The image: PATH, overlaybd:PATH, raw:PATH or raw-bytes:PATH.")
    var image: String

    @Argument(help: "The new file.")
    var output: String

    @Option(help: "The new file's format: raw.")
    var format = "raw"

    @Flag(help: "Replace the file if it is there.")
    var force = false

    @Flag(help: "Print what was written as one JSON object.")
    var json = false

    @OptionGroup var instance: InstanceOptions

    func validate() throws {
      if format != "raw" { throw ValidationError("The format \(format) is not known; known is raw.") }
    }

    func run() async throws {
      let (text, path, replaces) = (image, output, force)
      if replaces, LinuxFileSystem().exists(path) {
        let file = try ProgramText.absolute(path)
        try await instance.checkIsNoSandboxes(file, "extract to")
        try await instance.checkIsNotAttached(file, "extract to")
      }
      let bar = ProgressBar("extracting")
      let extraction = try await untilAskedToEnd { () async throws(BlockError) in
        try await onBlockingThreads { () async throws(BlockError) in
          let opened = try await open(text)
          return try await bar.show { progress async throws(BlockError) in
            try await opened.extract(to: path, replaces: replaces, taskCount: taskCount, .linux, progress)
          }
        }
      }
      if json { try Output.json(extraction) }
    }
  }
}
