import BlockCore
import CLinux
import DiskFormats
import Glibc
import Hashing
import LinuxIO
import SystemPackage

extension HeaderVolume {
  /// How a volume is to be formatted.
  public struct FormatOptions: Sendable {
    /// Where the content begins; `nil` for where it is, or sector 1 where the disk can do that, and 1 MiB where not.
    public var layout: VolumeRecord.Layout?
    /// What the image's digest has to be; `nil` if it is not known.
    public var expected: Digest256?
    /// Whether content that is no volume's of ours may be overwritten, and an image that is there written again.
    public var isForced: Bool
    /// Whether an image in another disk format will do, whose own bytes are meant.
    public var takesContainers: Bool

    /// Makes options; the parameters are those of the properties.
    public init(
      layout: VolumeRecord.Layout? = nil, expected: Digest256? = nil, isForced: Bool = false,
      takesContainers: Bool = false
    ) {
      self.layout = layout
      self.expected = expected
      self.isForced = isForced
      self.takesContainers = takesContainers
    }
  }

  /// What formatting came to.
  public struct FormatResult: Sendable, Hashable {
    /// The image's digest.
    public var image: Digest256
    /// Where the content begins.
    public var layout: VolumeRecord.Layout
    /// What was done.
    public var outcome: Outcome
    /// Whether the volume was that image's already and no content was written.
    public var wasThere: Bool { outcome != .written }

    /// What formatting can come to.
    public enum Outcome: Sendable, Hashable {
      /// The image was written.
      case written
      /// All of it was there: it was read.
      case there
      /// The volume is that image's, and its content is another one: somebody has written to it since, or it never was
      /// whole. It stays as it is.
      case kept
    }
  }

  /// Writes an image to the volume, and in front of it which one it is.
  ///
  /// A volume that was written from that image is kept as it is, whatever its content has become, unless the options say
  /// otherwise: it may be the disk of a virtual machine.
  ///
  /// Before the first byte is overwritten the volume says that it is incomplete, and only when the content has been
  /// read back from the disk it says that it is whole; what is behind the image is zeroed.
  ///
  /// - Parameters:
  ///   - image: The raw image's path.
  ///   - options: How.
  ///   - expect: Told of the bytes that are to be moved.
  ///   - advance: Told of those that have been.
  /// - Throws: `unsupported` for a header of a later version and for an image in another disk format, `conflict` for content of
  ///   somebody else and for another layout of that image,
  ///   `noSpace` if the image does not fit, `busy` if somebody uses the volume, `checksumMismatch`, `cancelled`, and
  ///   what reading and writing throw.
  public func format(
    image: String, _ options: FormatOptions, expect: (UInt64) -> Void = { _ in },
    advance: @Sendable (UInt64) -> Void = { _ in }
  ) async throws(BlockError) -> FormatResult {
    let source = try LinuxFile(image, for: .readOnly)
    guard try !StorageStack(beneath: path).overlaps(try StorageStack(beneath: image)) else {
      throw BlockError(
        .conflict, step: "format", object: path,
        cause: "the image \(image) is on it, or is what it stands on",
        remedy: "Copy the image to another place first, or choose another volume.")
    }
    if !options.takesContainers {
      try await ContainerFormat.refuse(source, override: ContainerFormat.rawBytesOption)
    }
    let target = try await alone(for: .readWrite)
    let content = try await Self.content(of: target)
    // Version before hash: what a later version means by its bytes, nobody here can know.
    if case .unsupportedVersion(let version) = content.state {
      throw BlockError(
        .unsupported, step: "format", object: path,
        cause: "unsupported virtlet root device metadata version \(version)",
        remedy: "A newer tool has written it, and its data is kept; wipe it with that tool.")
    }
    let layout = options.layout ?? usualLayout
    try checkLayout(layout)
    guard source.byteCount > 0 else {
      throw BlockError(
        .invalidArgument, step: "format", object: path, cause: "the image \(source.name) is empty",
        remedy: "Name the disk's content: a file that was cut or not fetched is none.")
    }
    try checkSize(forImageOf: source.byteCount, layout)
    expect(2 * source.byteCount)
    let digest = try await Digest256.of(source, advance)
    if let expected = options.expected, expected != digest {
      throw BlockError(
        .checksumMismatch, step: "read", object: image, cause: "its SHA-256 is \(digest), not \(expected)",
        remedy: "Fetch the image again.")
    }
    if !options.isForced {
      if let kept = try await kept(content, digest, source.byteCount, options.layout, target, advance) {
        return kept
      }
      try await refuseForeign(content, target)
    }
    let record = VolumeRecord(
      state: .incomplete, layout: layout, imageByteCount: source.byteCount, image: digest)
    try await write(record, header: nil, to: target)
    try await fill(target, from: source, at: layout.contentOffset, advance)
    try await verify(digest, source.byteCount, at: layout.contentOffset, in: target)
    var complete = record
    complete.state = .complete
    try await write(complete, header: layout == .sector ? VolumeHeader(image: digest) : nil, to: target)
    return FormatResult(image: digest, layout: layout, outcome: .written)
  }

  private var usualLayout: VolumeRecord.Layout { sectorByteCount > 512 ? .aligned : .sector }

  private func checkLayout(_ layout: VolumeRecord.Layout) throws(BlockError) {
    guard layout.contentOffset % UInt64(sectorByteCount) == 0 else {
      throw BlockError(
        .unsupported, step: "format", object: path,
        cause: "its sectors have \(sectorByteCount) bytes, and a content at byte \(layout.contentOffset) "
          + "would not begin with one", remedy: "Use the aligned layout.")
    }
  }

  /// The volume as it is, if it was written from that image.
  private func kept(
    _ content: Content, _ digest: Digest256, _ imageByteCount: UInt64, _ wanted: VolumeRecord.Layout?,
    _ target: LinuxFile, _ advance: (UInt64) -> Void
  ) async throws(BlockError) -> FormatResult? {
    switch content.state {
    case .written(digest), .unconfirmed(digest): break
    default: return nil
    }
    let layout = content.layout
    guard wanted == nil || wanted == layout else {
      throw BlockError(
        .conflict, step: "format", object: path,
        cause: "it holds that image already, in the layout \(layout)",
        remedy: "Leave out --layout to keep it; what was written to it since is lost with --force.")
    }
    guard try await holds(digest, imageByteCount, at: layout, in: target, advance) else {
      if content.isNoteStale { try await removeStaleNote(from: target) }
      return FormatResult(image: digest, layout: layout, outcome: .kept)
    }
    if case .unconfirmed = content.state {
      let record = VolumeRecord(
        state: .complete, layout: layout, imageByteCount: imageByteCount, image: digest)
      try await write(record, header: content.header, to: target)
    }
    return FormatResult(image: digest, layout: layout, outcome: .there)
  }

  /// Refuses to overwrite what is neither empty nor a volume's.
  private func refuseForeign(_ content: Content, _ target: LinuxFile) async throws(BlockError) {
    guard case .none = content.state else { return }
    // Where the kernel's file systems, RAID and LVM have their superblocks; some are at the end.
    let workspace = Workspace()
    let step = UInt64(Limits.requestBytes)
    let beginning = 0..<min(byteCount, 4 * step)
    let end = max(beginning.upperBound, byteCount - min(byteCount, step))..<byteCount
    var isEmpty = true
    for range in [beginning, end] {
      for start in stride(from: range.lowerBound, to: range.upperBound, by: Int(step)) {
        let count = Int(min(step, range.upperBound - start))
        let bytes = try await target.bytes(at: start, byteCount: count, using: workspace)
        isEmpty = isEmpty && !bytes.contains { $0 != 0 }
      }
    }
    if isEmpty { return }
    throw BlockError(
      .conflict, step: "format", object: path, cause: "it holds data, and no volume header",
      remedy: "If nobody needs that data, overwrite it with --force.")
  }

  /// Writes our note and the header, for good; the rest of the sector stays as it was.
  private func write(
    _ record: VolumeRecord, header: VolumeHeader?, to target: LinuxFile
  ) async throws(BlockError) {
    let workspace = Workspace()
    var sector = try await target.bytes(at: 0, byteCount: sectorByteCount, using: workspace)
    let encoded = try record.encoded()
    let head = header?.encoded ?? [UInt8](repeating: 0, count: VolumeHeader.byteCount)
    sector.replaceSubrange(0..<head.count, with: head)
    sector.replaceSubrange(VolumeRecord.offset..<VolumeRecord.offset + encoded.count, with: encoded)
    var places = [(UInt64(0), sector)]
    if record.layout == .aligned { places.append((UInt64(VolumeRecord.copyOffset), encoded)) }
    // The first sector counts, and at every moment one of the two is whole. That it is incomplete it has to say before
    // the copy is written, which may stand where the other layout has its content.
    if record.state == .complete { places.reverse() }
    for (place, bytes) in places {
      try await target.write(at: place, from: bytes.span.bytes, isDurable: false)
      try await target.synchronize()
    }
  }

  private func checkCancelled() throws(BlockError) {
    guard Task.isCancelled else { return }
    throw BlockError(
      .cancelled, step: "format", object: path, cause: "the work was called off",
      remedy: "The volume says that it is incomplete; format it again.")
  }

  private func fill(
    _ target: LinuxFile, from source: LinuxFile, at start: UInt64, _ advance: @Sendable (UInt64) -> Void
  ) async throws(BlockError) {
    let workspace = Workspace()
    var offset: UInt64 = 0
    while offset < source.byteCount {
      try checkCancelled()
      let count = Int(min(UInt64(Limits.requestBytes), source.byteCount - offset))
      let bytes = try await source.bytes(at: offset, byteCount: count, using: workspace)
      try await target.write(at: start + offset, from: bytes.span.bytes, isDurable: false)
      offset += UInt64(count)
      advance(UInt64(count))
    }
    // Up to where the disk can zero by itself, by hand; what an earlier user has left must not be seen.
    let end = start + source.byteCount
    let aligned = min((end + 4095) / 4096 * 4096, target.byteCount)
    let zeros = [UInt8](repeating: 0, count: Int(aligned - end))
    if !zeros.isEmpty { try await target.write(at: end, from: zeros.span.bytes, isDurable: false) }
    // In steps, so that it can be called off.
    for start in stride(from: aligned, to: target.byteCount, by: Int(Limits.zeroingBytes)) {
      try checkCancelled()
      try await target.zero(start..<min(start + Limits.zeroingBytes, target.byteCount))
    }
    try await target.synchronize()
  }

  /// Reads what was written, from the disk and not from the page cache.
  private func verify(
    _ digest: Digest256, _ imageByteCount: UInt64, at start: UInt64, in target: LinuxFile
  ) async throws(BlockError) {
    let again = try LinuxFile(path, for: .readOnly)
    try again.dropCache()
    let found = try await Digest256.of(ByteWindow(of: again, start..<start + imageByteCount))
    guard found == digest else {
      throw BlockError(
        .checksumMismatch, step: "read back", object: path, cause: "its SHA-256 is \(found), not \(digest)",
        remedy: "The disk does not keep what is written to it; look into the kernel's log.")
    }
  }
}
