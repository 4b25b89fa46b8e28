import Attachments
import BlockCore
import FoundationEssentials
import Glibc
import Images
import LinuxIO
import SystemPackage

/// The file in which the course of an attach is told: the configuration's `resultFile`, or one beside it.
///
/// Its first line is what whoever serves the image has said, in upstream's words: programs wait for that.
struct AttachResultFile {
  /// Its name where the configuration names none.
  static let usualName = "init-debug.log"

  private let path: String
  /// The paths of the image itself, which is not overwritten.
  private let parts: [String]
  /// How long it may take to look which files those are: one of them may be on a disk that does not answer.
  private static let patience = Duration.seconds(5)
  private let stampBefore: Stamp?

  /// What tells one content of a file from another.
  private struct Stamp: Equatable {
    let inode: ino_t
    let byteCount: off_t
    let seconds: time_t
    let nanoseconds: Int

    /// That of the file at a path; `nil` if there is none.
    init?(_ path: String) {
      var status = stat()
      guard stat(path, &status) == 0 else { return nil }
      inode = status.st_ino
      byteCount = status.st_size
      seconds = status.st_mtim.tv_sec
      nanoseconds = status.st_mtim.tv_nsec
    }
  }

  /// The file of an image's configuration; `nil` if there is no configuration.
  init?(ofConfiguration configuration: String) async {
    // Without it, or if it does not answer, there is nothing beside which the file could stand; the attach says so.
    let found = try? await InstanceOptions.looks.look(
      at: configuration, step: "read", object: configuration, within: Self.patience
    ) { () async throws(BlockError) in
      let files = HostServices.linux.files
      let place = try files.resolve(configuration)
      return (place, try await files.contents(of: place, limit: Limits.imageConfigBytes))
    }
    guard let (place, text) = found else { return nil }
    let directory = FilePath(place).removingLastComponent()
    let name = ImageConfig.resultFile(inJSON: text)
    path = directory.pushing(FilePath(name.isEmpty ? Self.usualName : name)).string
    // One that cannot be read names no other files.
    let named = (try? ImageConfig(json: text, path: place))?.files ?? []
    parts = [place] + named.map { directory.pushing(FilePath($0)).string }
    stampBefore = Stamp(path)
  }

  /// Writes it.
  ///
  /// - Parameters:
  ///   - outcome: What came of the attach.
  ///   - steps: How it went.
  /// - Returns: What kept it from being written, unless that is said in the outcome.
  func write(_ outcome: Result<AttachmentInfo, BlockError>, _ steps: [AttachStep]) async -> BlockError? {
    let lines = [word(for: outcome)] + steps.map { "\(Self.time($0.at)) \($0.text)" }
    let text = lines.map { $0.replacing("\n", with: " ") + "\n" }.joined()
    do throws(BlockError) {
      try await HostServices.linux.files.writeResultFile(path, Array(text.utf8), sparing: try await spared())
      return nil
    } catch {
      if case .success(let info) = outcome, info.notices.contains(where: { $0.contains(path) }) { return nil }
      return error.during("tell how it went")
    }
  }

  /// The files that are not overwritten; none is looked at while there is nothing to overwrite.
  private func spared() async throws(BlockError) -> Set<FileIdentity> {
    guard LinuxFileSystem.identity(of: path) != nil else { return [] }
    let parts = self.parts
    let found = await Race.first(within: Self.patience, clock: LinuxClock()) {
      await Blocking.run("result file") { Set(parts.compactMap { LinuxFileSystem.identity(of: $0) }) }
    }
    guard let found else {
      throw BlockError(
        .timedOut, step: "write", object: path,
        cause: "a file of the image does not answer, so that nobody knows whether this is one",
        remedy: "Remove it, or mend the disk that the image is on.")
    }
    return found
  }

  /// The first line.
  private func word(for outcome: Result<AttachmentInfo, BlockError>) -> String {
    guard case .failure(let error) = outcome else { return "success" }
    // What was there before the last try was said of another one.
    if Stamp(path) != stampBefore,
      let said = SmallFile.text(path, limit: Limits.resultFileBytes)?.split(separator: "\n").first,
      said.hasPrefix("failed:")
    {
      return String(said)
    }
    return "failed:\(error)"
  }

  private static func time(_ seconds: Double) -> String {
    Date(timeIntervalSince1970: seconds).formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }
}
