import Attachments
import BlockCore
import LinuxIO

extension Manager {
  /// The attachments whose disks a file is a part of, by what their data servers have opened.
  ///
  /// Another file under its name would keep the next data server from taking over.
  ///
  /// - Throws: If the journal holds what cannot be read.
  public func dependants(of file: FileIdentity) async throws(BlockError) -> [AttachmentID] {
    var found: [AttachmentID] = []
    for (id, attachment) in attachments {
      let files = try await attachment.row.decodedPin()?.files ?? []
      if files.contains(where: { $0.state.device == file.device && $0.state.inode == file.inode }) {
        found.append(id)
      }
    }
    return found.sorted { $0.text < $1.text }
  }
}
