import BlockCore
import DiskFormats
import LinuxIO

/// What can be read of a sandbox while nobody writes to it.
protocol SandboxContent: Sendable {
  /// The ranges that may hold something else than zeros, in order, in bytes.
  var extents: [Range<UInt64>] { get }
  /// Where the content of a range inside the disk is, in order; what is not there is zeros.
  func segments(of range: Range<UInt64>) -> [SandboxSegment]
}

/// A part of a sandbox's disk, and the part of a file that holds it.
struct SandboxSegment: Sendable {
  /// The file.
  var file: LinuxFile
  /// Where it begins there, in bytes.
  var offset: UInt64
  /// The part of the disk, in bytes.
  var place: Range<UInt64>

  /// The part of the file.
  var range: Range<UInt64> { offset..<offset + UInt64(place.count) }
}

/// A base and a snapshot's store, read from their files: what nobody has changed comes from the base.
struct SnapshotContent: SandboxContent {
  private let base: LinuxFile
  private let store: LinuxFile
  /// The changed chunks in the order of the disk.
  private let changed: [SnapshotExceptions.Entry]
  private let byteCount: UInt64
  /// Where the base has data, in order.
  private let baseExtents: [Range<UInt64>]
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
    baseExtents = try await base.dataExtents(from: 0)
    extents = Self.union(baseExtents + changed.map { $0.chunk * chunk..<min(($0.chunk + 1) * chunk, size) })
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

  func segments(of range: Range<UInt64>) -> [SandboxSegment] {
    let chunk = SnapshotExceptions.chunkByteCount
    var segments: [SandboxSegment] = []
    var position = range.lowerBound
    var index = firstIndex(from: position / chunk)
    while position < range.upperBound {
      let next = index < changed.count ? changed[index].chunk * chunk : range.upperBound
      if position < next {
        let end = min(next, range.upperBound)
        addBase(position..<end, to: &segments)
        position = end
        continue
      }
      // What was changed in one go lies in one piece.
      var end = index + 1
      while end < changed.count, changed[end].chunk == changed[end - 1].chunk + 1,
        changed[end].stored == changed[end - 1].stored + 1, changed[end].chunk * chunk < range.upperBound
      {
        end += 1
      }
      let stop = min((changed[end - 1].chunk + 1) * chunk, range.upperBound)
      segments.append(
        SandboxSegment(
          file: store,
          offset: SandboxStoreHeader.storeOffset + changed[index].stored * chunk + position
            - changed[index].chunk * chunk, place: position..<stop))
      position = stop
      index = end
    }
    return segments
  }

  /// Adds what the base has of a part that nobody has changed.
  private func addBase(_ part: Range<UInt64>, to segments: inout [SandboxSegment]) {
    var index = baseExtents.firstIndexOrdered { $0.upperBound > part.lowerBound }
    while index < baseExtents.count, baseExtents[index].lowerBound < part.upperBound {
      let data = baseExtents[index].clamped(to: part)
      segments.append(SandboxSegment(file: base, offset: data.lowerBound, place: data))
      index += 1
    }
  }

  private func firstIndex(from chunk: UInt64) -> Int { changed.firstIndexOrdered { $0.chunk >= chunk } }
}

extension Array {
  /// The first index from which on a condition holds, in an array where it holds from some element on.
  fileprivate func firstIndexOrdered(where holds: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if holds(self[middle]) { high = middle } else { low = middle + 1 }
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

  func segments(of range: Range<UInt64>) -> [SandboxSegment] {
    [SandboxSegment(file: file, offset: range.lowerBound, place: range)]
  }
}
