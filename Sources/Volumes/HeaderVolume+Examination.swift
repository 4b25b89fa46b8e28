import BlockCore
import DiskFormats
import Hashing
import LinuxIO

extension HeaderVolume {
  /// Reads what the volume says of itself, and where that can be told, whether it is so: all of the content is read.
  ///
  /// A note of ours that is of another content than the header is taken away, where the volume can be written.
  ///
  /// - Returns: What it says, and how far the content has come; never ``Content/State/written(_:)``.
  /// - Throws: What reading throws; `cancelled`.
  public func examine() async throws(BlockError) -> (content: Content, state: Content.State) {
    let file = try LinuxFile(path, for: .readOnly)
    let content = try await Self.content(of: file)
    if content.isNoteStale { try await removeStaleNoteIfPossible() }
    return (content, try await examined(content, file))
  }

  /// The state of a volume whose content is held against its note.
  func examined(_ content: Content, _ file: LinuxFile) async throws(BlockError) -> Content.State {
    guard case .written(let image) = content.state, let record = content.record else { return content.state }
    let isThere = try await holds(image, record.imageByteCount, at: content.layout, in: file)
    return isThere ? .complete(image) : .changed(image)
  }

  /// Whether a content is an image's, by its digest.
  func holds(
    _ image: Digest256, _ imageByteCount: UInt64, at layout: VolumeRecord.Layout, in file: LinuxFile,
    _ advance: (UInt64) -> Void = { _ in }
  ) async throws(BlockError) -> Bool {
    let start = layout.contentOffset
    // A volume that has become smaller does not hold it.
    guard imageByteCount <= file.byteCount, start <= file.byteCount - imageByteCount else { return false }
    return try await Digest256.of(ByteWindow(of: file, start..<start + imageByteCount), advance) == image
  }

  /// Takes away a note that is of another content than the header: beside the next header it might fit again.
  ///
  /// - Parameter target: The volume, open for writing.
  func removeStaleNote(from target: LinuxFile) async throws(BlockError) {
    let workspace = Workspace()
    let content = try await Self.content(of: target)
    let offset = UInt64(VolumeRecord.offset)
    let bytes = try await target.bytes(at: offset, byteCount: VolumeRecord.byteCount, using: workspace)
    // The copy of the aligned layout stands where the content of this one does.
    guard content.isNoteStale, try VolumeRecord.read(bytes) != nil else { return }
    let nothing = [UInt8](repeating: 0, count: VolumeRecord.byteCount)
    try await target.write(at: offset, from: nothing.span.bytes, isDurable: false)
    try await target.synchronize()
  }

  private func removeStaleNoteIfPossible() async throws(BlockError) {
    do throws(BlockError) {
      try await removeStaleNote(from: try await alone(for: .readWrite))
    } catch  where [.busy, .readOnly, .permissionDenied].contains(error.kind) {
      // Whoever uses it, or may write to it, comes across the note himself.
      return
    }
  }
}
