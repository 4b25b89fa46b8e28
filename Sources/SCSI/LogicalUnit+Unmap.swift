import BlockCore

/// UNMAP and GET LBA STATUS (SBC-3, 5.28 and 5.6).
extension LogicalUnit {
  /// Unmapped blocks read as zeros, as LBPRZ promises, those at a range's edges too.
  func unmap(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    if command.cdb.hasBits(0x01, at: 1) { throw .invalidField(1) }
    let listLength = Int(command.cdb.uint16(7))
    if listLength == 0 { return .good }
    let list = command.data.bytes(atMost: listLength)
    let ranges = try unmapRanges(list)
    var flags = writeFlags(false)
    flags.insert(.mayUnmap)
    for range in ranges where !range.isEmpty { try await zero(range, flags, workspace) }
    return .good
  }

  /// Reads and checks all descriptors before anything is done.
  private func unmapRanges(_ list: [UInt8]) throws(SenseData) -> [Range<UInt64>] {
    guard list.count >= 8 else { throw .parameterListLength }
    let bytes = list.span.bytes
    let length = min(Int(bytes.bigEndian(2, as: UInt16.self)), list.count - 8) / 16 * 16
    guard length / 16 <= Limits.unmapDescriptors else { throw .invalidParameter(2) }
    var ranges: [Range<UInt64>] = []
    var total: UInt64 = 0
    for start in stride(from: 8, to: 8 + length, by: 16) {
      let blocks = UInt64(bytes.bigEndian(start + 8, as: UInt32.self))
      ranges.append(try range(bytes.bigEndian(start), blocks))
      total += blocks
      guard total <= UInt64(Limits.unmapBlocks) else { throw .invalidParameter(start + 8) }
    }
    return ranges
  }

  /// Which blocks are mapped, as the volume knows it; all of them if it does not.
  func lbaStatus(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let blockSize = UInt64(volume.geometry.logicalBlockSize)
    let capacity = volume.geometry.byteCount / blockSize
    let start = command.cdb.uint64(2)
    let allocationLength = Int(command.cdb.uint32(10))
    guard start < capacity else { throw .outOfRange }
    var data = DataInBytes(count: 8)
    let room = max((min(allocationLength, command.data.byteCount) - 8) / 16, 1)
    var runs = BlockRuns(mapped: try await mappedBlocks(capacity), from: start, to: capacity)
    while let run = runs.next(), (data.count - 8) / 16 < room {
      data.append(run.blocks.lowerBound)
      data.append(UInt32(run.blocks.upperBound - run.blocks.lowerBound))
      data.append(UInt32(run.isMapped ? 0 : 1) << 24)
    }
    data.put(UInt32(data.count - 4), at: 0)
    return data.answer(command, allocationLength: allocationLength)
  }

  /// The blocks that may hold something: in order, without overlaps.
  private func mappedBlocks(_ capacity: UInt64) async throws(SenseData) -> [Range<UInt64>] {
    guard canUnmap, let reporting = volume as? any ExtentReporting else { return [0..<capacity] }
    let blockSize = UInt64(volume.geometry.logicalBlockSize)
    do throws(BlockError) {
      var mapped: [Range<UInt64>] = []
      for extent in try await reporting.dataExtents() {
        let start = max(extent.lowerBound / blockSize, mapped.last?.upperBound ?? 0)
        let end = min((extent.upperBound + blockSize - 1) / blockSize, capacity)
        if start < end { mapped.append(start..<end) }
      }
      return mapped
    } catch {
      throw failure(error, isWrite: false)
    }
  }
}

/// Blocks from some place on, by turns mapped and not, in runs that 32 bits can count.
private struct BlockRuns {
  private let mapped: [Range<UInt64>]
  private var index: Int
  private var position: UInt64
  private let end: UInt64

  init(mapped: [Range<UInt64>], from start: UInt64, to end: UInt64) {
    self.mapped = mapped
    index = mapped.firstIndex { $0.upperBound > start } ?? mapped.count
    position = start
    self.end = end
  }

  mutating func next() -> (blocks: Range<UInt64>, isMapped: Bool)? {
    guard position < end else { return nil }
    while index < mapped.count, mapped[index].upperBound <= position { index += 1 }
    let isMapped = index < mapped.count && mapped[index].contains(position)
    var bound = index == mapped.count ? end : mapped[index].lowerBound
    if isMapped {
      bound = mapped[index].upperBound
      // Neighbours are one run.
      while index + 1 < mapped.count, mapped[index + 1].lowerBound == bound {
        index += 1
        bound = mapped[index].upperBound
      }
    }
    let start = position
    position = min(bound, end, start + UInt64(UInt32.max))
    return (start..<position, isMapped)
  }
}
