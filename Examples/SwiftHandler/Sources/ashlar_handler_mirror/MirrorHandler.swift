import AshlarHandlers
import BlockCore
import Handlers
import LinuxIO

/// The program: it does what the manager asks of it, with this handler.
@main
struct Program {
  static func main() async {
    await HandlerProgram.main(MirrorHandler())
  }
}

/// An example of a handler in Swift: disks of which two files have a copy each.
///
/// Configuration: `FILE,FILE`, two existing files of the same size. `mirror//a/one,/b/two` is on /a/one and /b/two.
struct MirrorHandler: Handler {
  let subtype = "mirror"
  let summary = "The paths of two existing files of the same size, with a comma between them."

  /// Says early what is wrong with a configuration.
  ///
  /// Nothing is made or changed here.
  func check(_ configuration: String) async throws(BlockError) {
    let paths = try paths(in: configuration)
    for path in paths where try LinuxFileSystem().kind(of: path) == nil {
      throw BlockError(.notFound, step: "use the mirror's side", object: path, cause: "it does not exist")
    }
  }

  func open(_ opening: HandlerOpening) async throws(BlockError) -> OpenedVolume {
    let paths = try paths(in: opening.configuration)
    let files = LinuxFileSystem()
    let access: FileAccess = opening.isReadOnly ? .readOnly : .readWrite
    let first = try await files.open(paths[0], for: access)
    let second = try await files.open(paths[1], for: access)
    let log = opening.log
    let volume = try MirrorVolume(first, second, isReadOnly: opening.isReadOnly) { error in
      log(HandlerMessage(.warning, "\(error)"))
    }
    // Nothing but a volume: it cannot be resized, serves no SCSI commands of its own, and its files are closed when
    // the last reference to them goes.
    return OpenedVolume(volume)
  }

  private func paths(in configuration: String) throws(BlockError) -> [String] {
    let paths = configuration.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    guard paths.count == 2, paths.allSatisfy({ $0.hasPrefix("/") }), paths[0] != paths[1] else {
      throw BlockError(
        .invalidArgument, step: "read the configuration", object: "mirror/\(configuration)",
        cause: "it is not two different absolute paths with a comma between them")
    }
    return paths
  }
}
