import BlockCore
import DiskFormats
import LinuxIO

/// What can be read of a sandbox while nobody writes to it.
protocol SandboxContent: Sendable {
  /// The ranges that may hold something else than zeros, in order, in bytes.
  var extents: [Range<UInt64>] { get }
  /// Reads a range that lies inside the disk.
  func read(_ range: Range<UInt64>, using workspace: Workspace) async throws(BlockError) -> [UInt8]
}

/// A base and a snapshot's store, read from their files: what nobody has changed comes from the base.
struct SnapshotContent: SandboxContent {
  private let base: LinuxFile
  private let store: LinuxFile
  /// The changed chunks in the order of the disk.
  private let changed: [SnapshotExceptions.Entry]
  private let byteCount: UInt64
  let extents: [Range<UInt64>]

  init(
    base: LinuxFile, store: LinuxFile, _ header: SandboxStoreHeader
  ) async throws(BlockError) {
    self.base = base
    self.store = store
    byteCount = header.byteCount
    let exceptions = try await StoreFile.exceptions(in: store, header, Workspace())
    changed = exceptions.entries.sorted { $0.chunk < $1.chunk }
    let chunk = SnapshotExceptions.chunkByteCount
    let size = header.byteCount
    let ranges =
      try await base.dataExtents(from: 0)
      + changed.map { $0.chunk * chunk..<min(($0.chunk + 1) * chunk, size) }
    extents = Self.union(ranges)
  }

  /// Ranges in order, and those that touch as one.
  static func union(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    var result: [Range<UInt64>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last, range.lowerBound <= last.upperBound {
        result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  func read(_ range: Range<UInt64>, using workspace: Workspace) async throws(BlockError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: range.count)
    let ofBase = min(range.upperBound, base.byteCount)
    if range.lowerBound < ofBase {
      try await fill(&bytes, 0..<Int(ofBase - range.lowerBound), from: base, at: range.lowerBound, workspace)
    }
    let chunk = SnapshotExceptions.chunkByteCount
    var index = firstIndex(from: range.lowerBound / chunk)
    while index < changed.count, changed[index].chunk * chunk < range.upperBound {
      // What was changed in one go lies in one piece.
      var end = index + 1
      while end < changed.count, changed[end].chunk == changed[end - 1].chunk + 1,
        changed[end].stored == changed[end - 1].stored + 1, changed[end].chunk * chunk < range.upperBound
      {
        end += 1
      }
      let start = max(changed[index].chunk * chunk, range.lowerBound)
      let stop = min((changed[end - 1].chunk + 1) * chunk, range.upperBound)
      let offset =
        SandboxStoreHeader.storeOffset + changed[index].stored * chunk
        + (start - changed[index].chunk * chunk)
      try await fill(
        &bytes, Int(start - range.lowerBound)..<Int(stop - range.lowerBound), from: store, at: offset,
        workspace)
      index = end
    }
    return bytes
  }

  private func fill(
    _ bytes: inout [UInt8], _ part: Range<Int>, from file: LinuxFile, at offset: UInt64,
    _ workspace: Workspace
  ) async throws(BlockError) {
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    var target = raw._mutatingExtracting(part)
    try await file.readAnyhow(at: offset, into: &target, using: workspace)
  }

  private func firstIndex(from chunk: UInt64) -> Int {
    var low = 0
    var high = changed.count
    while low < high {
      let middle = (low + high) / 2
      if changed[middle].chunk < chunk { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

/// A device that shows all of a sandbox; what it does not show is where there is nothing.
struct DeviceContent: SandboxContent {
  private let file: LinuxFile
  let extents: [Range<UInt64>]

  init(_ path: String) throws(BlockError) {
    file = try LinuxFile(path, for: .readOnly)
    extents = [0..<file.byteCount]
  }

  func read(_ range: Range<UInt64>, using workspace: Workspace) async throws(BlockError) -> [UInt8] {
    try await file.bytes(at: range.lowerBound, byteCount: range.count, using: workspace)
  }
}
