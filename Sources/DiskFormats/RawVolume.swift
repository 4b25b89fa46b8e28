import BlockCore
import Synchronization

/// A raw image: a file or block device whose bytes are the disk's.
public final class RawVolume: ExtentReporting, ResizableVolume {
  private let file: any BlockFile
  /// What is read: the file, or the file made whole sectors.
  private let source: any ByteSource
  private let size: Atomic<UInt64>
  private let blockSize: Int
  private let isReadOnly: Bool

  /// Makes a disk of a file.
  ///
  /// - Parameters:
  ///   - file: The image; open for writing unless `isReadOnly`.
  ///   - isReadOnly: Whether writes are refused. Only then may the file end inside a sector; what is
  ///     missing of it reads as zeros.
  ///   - byteCount: The disk's size, if it is not all of the file; whole logical blocks.
  ///   - blockSize: The logical block size in bytes: 512 or 4096.
  /// - Throws: `invalidArgument` for a size that no disk can have.
  public init(
    _ file: any BlockFile, isReadOnly: Bool, byteCount: UInt64? = nil, blockSize: Int = 512
  ) throws(BlockError) {
    let isWhole = file.byteCount % VolumeGeometry.sectorSize == 0
    guard file.byteCount > 0 else {
      throw BlockError(
        .invalidArgument, step: "open raw image", object: file.name, cause: "it is empty",
        remedy: "Give it a size: truncate -s SIZE FILE.")
    }
    guard isWhole || isReadOnly else {
      throw BlockError(
        .invalidArgument, step: "open raw image", object: file.name,
        cause: "its \(file.byteCount) bytes are not whole sectors of \(VolumeGeometry.sectorSize)",
        remedy: "Open it with --read-only, or make it whole: truncate -s %\(VolumeGeometry.sectorSize) FILE.")
    }
    guard file.byteCount <= Limits.volumeBytes else {
      throw BlockError(
        .unsupported, step: "open raw image", object: file.name,
        cause: "its \(file.byteCount) bytes are more than a disk can have")
    }
    self.file = file
    let source: any ByteSource = isWhole ? file : PaddedSource(file)
    self.source = source
    self.isReadOnly = isReadOnly
    self.blockSize = blockSize
    let byteCount = byteCount ?? source.byteCount
    try Self.check(byteCount, blockSize, file, has: source.byteCount)
    size = Atomic(byteCount)
  }

  private static func check(
    _ byteCount: UInt64, _ blockSize: Int, _ file: any BlockFile, has available: UInt64
  ) throws(BlockError) {
    guard byteCount > 0, byteCount % UInt64(blockSize) == 0 else {
      throw BlockError(
        .invalidArgument, step: "open raw image", object: file.name,
        cause: "\(byteCount) bytes are not whole blocks of \(blockSize)")
    }
    guard byteCount <= available else {
      throw BlockError(
        .outOfRange, step: "open raw image", object: file.name,
        cause: "a disk of \(byteCount) bytes is wanted, and it has \(available)")
    }
  }

  public var geometry: VolumeGeometry {
    VolumeGeometry(
      byteCount: size.load(ordering: .relaxed), logicalBlockSize: blockSize, isReadOnly: isReadOnly,
      canDiscard: !isReadOnly)
  }

  public func resize(to byteCount: UInt64) async throws(BlockError) {
    let current = size.load(ordering: .relaxed)
    guard byteCount >= current else {
      throw BlockError(
        .unsupported, step: "set the size of", object: file.name,
        cause: "it has \(current) bytes and would lose what is behind byte \(byteCount)",
        remedy: "A disk in use can only grow.")
    }
    guard byteCount <= Limits.volumeBytes, byteCount % UInt64(blockSize) == 0 else {
      throw BlockError(
        .invalidArgument, step: "set the size of", object: file.name,
        cause: "\(byteCount) bytes are not whole blocks of \(blockSize), or more than a disk can have")
    }
    try await file.extend(to: byteCount)
    size.store(byteCount, ordering: .relaxed)
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    switch request.operation {
    case .read: try source.readNow(at: request.offset, into: &data, using: workspace)
    case .write:
      request.flags.contains(.forceUnitAccess)
        ? .mustWait : try file.writeNow(at: request.offset, from: data.bytes)
    case .flush: geometry.isReadOnly ? .done : .mustWait
    case .discard, .writeZeroes: .mustWait
    }
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let range = request.offset..<request.offset + request.byteCount
    switch request.operation {
    case .read: try await source.read(at: request.offset, into: &data, using: workspace)
    case .write:
      try await file.write(
        at: request.offset, from: data.bytes, isDurable: request.flags.contains(.forceUnitAccess))
    case .flush: if !geometry.isReadOnly { try await file.synchronize() }
    case .discard: try await file.punchHole(range)
    case .writeZeroes: try await writeZeroes(range, request.flags)
    }
    if request.operation.isWrite, !request.carriesData, request.flags.contains(.forceUnitAccess) {
      try await file.synchronize()
    }
  }

  /// A hole reads as zeros too and gives the space back, which the request may not want.
  private func writeZeroes(_ range: Range<UInt64>, _ flags: BlockRequest.Flags) async throws(BlockError) {
    guard flags.contains(.mayUnmap) else { return try await file.zero(range) }
    do {
      try await file.punchHole(range)
    } catch  where error.kind == .unsupported {
      try await file.zero(range)
    }
  }

  public func dataExtents() async throws(BlockError) -> [Range<UInt64>] {
    let sector = VolumeGeometry.sectorSize
    var extents: [Range<UInt64>] = []
    for extent in try await file.dataExtents(from: 0) {
      // A file system may count in units smaller than a sector.
      let start = max(extent.lowerBound / sector * sector, extents.last?.upperBound ?? 0)
      let end = min((extent.upperBound + sector - 1) / sector * sector, geometry.byteCount)
      if start < end { extents.append(start..<end) }
    }
    return extents
  }
}
