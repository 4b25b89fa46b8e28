import BlockCore
import LinuxIO
import Logging
import SystemPackage

extension Sandboxes {
  /// Bytes that a name of ours may add to that of a file while it is being written: an ID and an ending.
  private static let suffixBytes = 40
  /// Bytes of a file's name, and of a path with its NUL (limits.h).
  private static let nameBytes = 255
  private static let pathBytes = 4096

  /// Checks the path of a file as a request has it.
  ///
  /// - Parameters:
  ///   - path: The path.
  ///   - step: What it is wanted for.
  /// - Throws: `invalidArgument` unless it is absolute, can be a file's, and has room for a temporary name beside it.
  static func checkPath(_ path: String, _ step: String) throws(BlockError) {
    func reject(_ cause: String, _ remedy: String?) -> BlockError {
      let shown = path.unicodeScalars.prefix(80).map {
        $0.properties.generalCategory == .control ? "?" : "\($0)"
      }
      return BlockError(
        .invalidArgument, step: step, object: "\"\(shown.joined())\"", cause: cause, remedy: remedy)
    }
    guard path.hasPrefix("/"), !path.hasSuffix("/"), !path.utf8.contains(0) else {
      throw reject("it is no absolute path of a file", "Write the path from / on.")
    }
    let name =
      path.utf8.count
      - (path.utf8.lastIndex(of: UInt8(ascii: "/")).map {
        path.utf8.distance(from: path.utf8.startIndex, to: $0) + 1
      } ?? 0)
    guard name <= Self.nameBytes - suffixBytes, path.utf8.count < Self.pathBytes - suffixBytes else {
      throw reject(
        "its name has more than \(Self.nameBytes - suffixBytes) bytes, or all of it more than "
          + "\(Self.pathBytes - suffixBytes)", "Choose a shorter one.")
    }
  }

  /// The store of a sandbox that has asked for none.
  func defaultStore(_ name: String) -> String { "\(options.directory)/sandbox-\(name).store" }

  /// The sandboxes whose base or store a file is, whatever it is called, or what a block device writes to.
  ///
  /// Nobody of ours may change it. The disk of a sandbox stands on nothing: its changes go to its store.
  ///
  /// A base or store that cannot be looked at, since its file system does not answer, is told from it by its path alone,
  /// which the log says: it holds up nobody.
  ///
  /// - Throws: `ioError` if the journal cannot be read; what asking loop devices beneath the file throws.
  public func dependants(of path: String) throws(BlockError) -> [String] {
    let files = try StorageStack(beneath: path).files
    let rows = try journal.rows()
    let paths = Array(Set(rows.flatMap { [$0.base, $0.store] }))
    let found = BoundedLooks.each(paths, key: \.self) { LinuxFileSystem.identity(of: $0) }
    var used: Set<String> = [path]
    for (other, identity) in zip(paths, found) {
      guard let identity else {
        log.warning(
          "\(other): its file system does not answer; whether it is \(path) is told by the path alone")
        continue
      }
      if let identity, files.contains(identity) { used.insert(other) }
    }
    return rows.filter { used.contains($0.base) || used.contains($0.store) }.map(\.name)
  }

  /// Refuses to change a file that sandboxes stand on.
  ///
  /// - Throws: `conflict` with their names.
  public func checkIsNobodys(_ path: String, _ step: String) throws(BlockError) {
    let names = try dependants(of: path)
    guard !names.isEmpty else { return }
    throw BlockError(
      .conflict, step: step, object: path,
      cause: "the sandbox \(names.joined(separator: ", ")) stands on it",
      remedy: "Choose another file, or remove the sandbox first: ashlar sandbox rm.", errno: .resourceBusy)
  }
}
