import BlockCore

/// A disk of which two files have a copy each.
///
/// It reads from the first, and from the second where that fails; it writes to both.
final class MirrorVolume: Volume {
  let geometry: VolumeGeometry
  private let first: any BlockFile
  private let second: any BlockFile
  private let report: @Sendable (BlockError) -> Void

  /// Makes a disk.
  ///
  /// - Parameters:
  ///   - first: A file of whole sectors.
  ///   - second: Another one, of the same size.
  ///   - isReadOnly: Whether writes are refused.
  ///   - report: Is told when the first file cannot be read.
  init(
    _ first: any BlockFile, _ second: any BlockFile, isReadOnly: Bool,
    report: @escaping @Sendable (BlockError) -> Void
  ) throws(BlockError) {
    let byteCount = first.byteCount
    guard byteCount > 0, byteCount == second.byteCount, byteCount % VolumeGeometry.sectorSize == 0 else {
      throw BlockError(
        .invalidArgument, step: "open the mirror", object: first.name,
        cause: "it has \(byteCount) bytes and \(second.name) has \(second.byteCount)",
        remedy: "Both need the same size, whole sectors of \(VolumeGeometry.sectorSize) bytes.")
    }
    self.first = first
    self.second = second
    self.report = report
    geometry = VolumeGeometry(byteCount: byteCount, isReadOnly: isReadOnly, canDiscard: !isReadOnly)
  }

  /// The first phase: what is in the page cache is read at once, on the thread that took the request.
  ///
  /// All else has to wait.
  func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    guard request.operation == .read else { return .mustWait }
    do {
      return try first.readNow(at: request.offset, into: &data, using: workspace)
    } catch {
      // The second phase tries the other file.
      report(error)
      return .mustWait
    }
  }

  /// The second phase may take its time: it runs on threads that may wait.
  func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let range = request.offset..<request.offset + request.byteCount
    let isDurable = request.flags.contains(.forceUnitAccess)
    switch request.operation {
    case .read: try await read(at: request.offset, into: &data, using: workspace)
    case .write:
      try await first.write(at: request.offset, from: data.bytes, isDurable: isDurable)
      try await second.write(at: request.offset, from: data.bytes, isDurable: isDurable)
    case .flush:
      guard !geometry.isReadOnly else { return }
      try await first.synchronize()
      try await second.synchronize()
    case .discard:
      try await first.punchHole(range)
      try await second.punchHole(range)
    case .writeZeroes:
      try await first.zero(range)
      try await second.zero(range)
      if isDurable { try await serve(.flush, data: &data, using: workspace) }
    }
  }

  private func read(
    at offset: UInt64, into data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    do {
      try await first.read(at: offset, into: &data, using: workspace)
    } catch {
      report(error)
      try await second.read(at: offset, into: &data, using: workspace)
    }
  }
}
