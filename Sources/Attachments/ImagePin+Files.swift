import BlockCore
import LinuxIO

extension ImagePin {
  /// A file that is not what is served, and in what it differs, in words.
  public struct Replacement: Sendable, Hashable {
    /// The file's path.
    public var path: String
    /// In what it differs.
    public var difference: String
  }

  /// Looks whether the paths still lead to the files that are served; waits for their file systems.
  ///
  /// - Returns: The first that does not; `nil` if all do. A configuration is not looked at: its content is what counts,
  ///   and ``AttachmentSpec`` has it.
  /// - Throws: By errno for what cannot be looked at.
  public func replacement() throws(BlockError) -> Replacement? {
    for file in files where file.role != .configuration {
      do throws(BlockError) {
        let found = try FileState(ofPath: file.path)
        guard let difference = file.difference(to: found, sha256: nil) else { continue }
        return Replacement(path: file.path, difference: difference)
      } catch  where error.kind == .notFound {
        return Replacement(path: file.path, difference: "it is not there any more")
      }
    }
    return nil
  }
}
