import Attachments
import BlockCore
import ControlClient
import LinuxIO

extension InstanceOptions {
  /// Refuses paths at which the manager sees another file than we do, because it has another mount namespace or another
  /// root.
  ///
  /// A path at which we see nothing may be meant as the manager's.
  ///
  /// - Parameters:
  ///   - paths: They, absolute.
  ///   - step: What they are wanted for.
  ///   - client: The manager's.
  /// - Throws: `conflict` with the path.
  func checkIsSameFile(_ paths: [String], _ step: String, _ client: APIClient) async throws(BlockError) {
    // Where both see the same, a file on a disk that does not answer is left to the manager.
    guard let manager = client.listenerID ?? Daemon(self).holder?.pid, !Self.seesTheSame(as: manager) else {
      return
    }
    for path in paths {
      let ours = try await Self.looks.look(at: path, step: step, object: path, within: Limits.lookTime) {
        () async throws(BlockError) in LinuxFileSystem.identity(of: path)
      }
      guard let ours else { continue }
      let theirs: FileReply
      do throws(BlockError) {
        theirs = try await client.call(.get, Self.query("/v1/files", path))
      } catch  where error.kind == .notFound {
        // It says so itself when it is asked for more.
        continue
      }
      guard theirs != FileReply(ours) else { continue }
      throw BlockError(
        .conflict, step: step, object: path,
        cause:
          "the manager (process \(manager)) sees another file there: its mounts or its root are not yours",
        remedy:
          "Run the command where the manager runs: nsenter --target \(manager) --mount --root ashlar …")
    }
  }

  /// Where the command looks at files: one that has not answered is not waited for again.
  static let looks = FileLooks(clock: LinuxClock())

  /// Whether a process has our mounts and our root, as far as we may know.
  private static func seesTheSame(as pid: Int32) -> Bool {
    ["ns/mnt", "root"].allSatisfy { name in
      guard let ours = LinuxFileSystem.identity(of: "/proc/self/\(name)") else { return false }
      return ours == LinuxFileSystem.identity(of: "/proc/\(pid)/\(name)")
    }
  }
}
