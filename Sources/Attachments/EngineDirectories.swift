import BlockCore
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// Where an instance of the engine keeps what.
public struct EngineDirectories: Sendable, Hashable {
  /// What has to survive a restart of the host: the journal.
  public let root: String
  /// What has not: sockets, links to devices, the lock.
  public let run: String

  /// The places of an instance that nobody moved.
  public static let standard = EngineDirectories(root: "/var/lib/ashlar", run: "/run/ashlar")

  /// Makes a set; both paths are absolute.
  public init(root: String, run: String) {
    self.root = root
    self.run = run
  }

  /// The places that options or the environment name: ASHLAR_ROOT and ASHLAR_RUN.
  ///
  /// - Parameters:
  ///   - root: The option, if it was given; it goes before the variable.
  ///   - run: Likewise.
  ///   - environment: The process's environment.
  ///   - directory: What a relative path counts from.
  public init(
    root: String?, run: String?, environment: [String: String], workingDirectory directory: String
  ) {
    func place(_ option: String?, _ variable: String, _ standard: String) -> String {
      guard let path = option ?? environment[variable], !path.isEmpty else { return standard }
      return FilePath(directory).pushing(FilePath(path)).lexicallyNormalized().string
    }
    self.init(
      root: place(root, "ASHLAR_ROOT", Self.standard.root), run: place(run, "ASHLAR_RUN", Self.standard.run))
  }

  /// What is wrong with options that name directories, in words; `nil` if nothing is.
  ///
  /// An empty one is a script's variable that was not set: another instance would be meant than the one that is taken.
  public static func refusal(root: String?, run: String?) -> String? {
    let empty = [("--root", root), ("--run", run)].first { $0.1?.isEmpty == true }
    return empty.map { "\($0.0) is empty: name a directory, or leave the option out." }
  }

  /// The journal.
  public var journal: String { "\(root)/journal.sqlite" }
  /// The journal of the sandboxes that are kept in a directory; those of an instance are in its root.
  public static func sandboxJournal(in directory: String) -> String { "\(directory)/sandboxes.sqlite" }
  /// What a manager writes that a command has started.
  public var log: String { "\(root)/ashlard.log" }
  /// The socket of the manager's API.
  public var apiSocket: String { "\(run)/ashlard.sock" }
  /// The lock that one manager at a time holds.
  public var lock: String { "\(run)/ashlard.lock" }
  /// The directory of the data servers' sockets.
  public var servers: String { "\(run)/servers" }
  /// The directory of the links to devices.
  public var links: String { "\(run)/dev" }

  /// A data server's socket: it has the last part of the export's name, which is enough to tell it, because
  /// the paths of sockets may not be long.
  public func serverSocket(_ exportName: String) -> String {
    "\(servers)/\(exportName.split(separator: "-").last ?? "").sock"
  }

  /// Where a data server writes down that a flush has failed.
  public func flushRecord(_ exportName: String) -> FlushRecord {
    FlushRecord(beside: serverSocket(exportName))
  }

  /// The link to an attachment's device.
  public func link(_ id: some CustomStringConvertible) -> String { "\(links)/\(id)" }

  /// Makes the directories that are missing, for their owner alone.
  ///
  /// - Throws: `invalidArgument` if sockets' paths would be too long; by errno, with the path that could not be
  ///   made.
  public func make() throws(BlockError) {
    try checkLength()
    for directory in all { try Self.make(directory) }
  }

  /// Checks that sockets can be in the run directory; to be asked before anybody looks for one.
  ///
  /// - Throws: `invalidArgument` if their paths would be too long.
  public func checkLength() throws(BlockError) {
    let length = serverSocket(String(repeating: "0", count: UInt64.bitWidth / 4)).utf8.count
    guard length <= MessageSocket.pathLimit else {
      throw BlockError(
        .invalidArgument, step: "use the run directory", object: run,
        cause:
          "sockets in it would have paths of \(length) bytes, and \(MessageSocket.pathLimit) are allowed",
        remedy: "Choose a shorter one (--run, ASHLAR_RUN).")
    }
  }

  /// All of them.
  public var all: [String] { [root, run, servers, links] }

  /// Makes a directory and those above it, for their owner alone.
  ///
  /// - Throws: By errno, with the path that could not be made.
  public static func make(_ directory: String) throws(BlockError) {
    var path = FilePath(directory)
    var missing: [FilePath] = []
    while access(path.string, F_OK) != 0, !path.isEmpty, path.lastComponent != nil {
      missing.append(path)
      path.removeLastComponent()
    }
    for path in missing.reversed() {
      guard mkdir(path.string, 0o700) == 0 || errno == EEXIST else {
        throw BlockError(
          errno: Errno(rawValue: errno), step: "make the directory", object: path.string,
          remedy: "Run it as root, or move it with --root and --run.")
      }
    }
  }
}
