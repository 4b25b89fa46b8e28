import BlockCore
import Synchronization

/// EXTENDED COPY(LID1): segments from block device to block device (SPC-4, 6.4).
extension LogicalUnit {
  func extendedCopy(_ command: Command, _ workspace: Workspace) async throws(SenseData) -> CommandResult {
    let listLength = Int(command.cdb.uint32(10))
    if listLength == 0 { return .good }
    let list = command.data.bytes(atMost: min(listLength, CopyParameters.mostBytes))
    let parameters = try CopyParameters(list, listLength: listLength)
    var result = CopyResult(parameters)
    do throws(SenseData) {
      for segment in parameters.segments {
        result.byteCount += try await copy(segment, parameters, workspace)
        result.segmentCount += 1
      }
    } catch {
      result.failure = error
      keep(result)
      throw error
    }
    keep(result)
    return .good
  }

  private func copy(
    _ segment: CopyParameters.Segment, _ parameters: CopyParameters, _ workspace: Workspace
  ) async throws(SenseData) -> UInt64 {
    let source = try unit(segment.source, parameters)
    let target = try unit(segment.target, parameters)
    try target.admit([.medium, .writes])
    if source !== self { try source.admit(.medium) }
    // DC: the count is in blocks of the target.
    let counted = segment.countsTargetBlocks ? target : source
    let byteCount = UInt64(segment.blocks) * UInt64(counted.volume.geometry.logicalBlockSize)
    let from = try source.copyRange(segment.sourceLBA, byteCount)
    let to = try target.copyRange(segment.targetLBA, byteCount)
    let flags = target.writeFlags(false)
    var done: UInt64 = 0
    while done < byteCount {
      let count = min(byteCount - done, UInt64(Limits.requestBytes))
      let memory = workspace.component(BounceMemory.self).take(Int(count))
      try await source.request(
        BlockRequest(.read, at: from.lowerBound + done, byteCount: count), memory, workspace)
      let start = to.lowerBound + done
      let claim = await target.claims.take(start..<start + count)
      defer { target.claims.release(claim) }
      try await target.request(
        BlockRequest(.write, at: start, byteCount: count, flags: flags), memory, workspace)
      done += count
    }
    return byteCount
  }

  /// The unit that a segment means.
  private func unit(_ index: Int, _ parameters: CopyParameters) throws(SenseData) -> LogicalUnit {
    guard parameters.targets.indices.contains(index) else { throw .unreachableCopyTarget }
    let target = parameters.targets[index]
    let unit = target.designator == designator ? self : options.copyTarget(target.designator)
    guard let unit else { throw .unreachableCopyTarget }
    guard target.blockSize == 0 || target.blockSize == unit.volume.geometry.logicalBlockSize else {
      throw .wrongCopyTargetType
    }
    return unit
  }

  /// A segment's bytes in a unit.
  ///
  /// - Throws: A/0000 if they are not there or not whole blocks.
  private func copyRange(_ lba: UInt64, _ byteCount: UInt64) throws(SenseData) -> Range<UInt64> {
    let blockSize = UInt64(volume.geometry.logicalBlockSize)
    guard byteCount % blockSize == 0 else { throw .copyAborted }
    do throws(SenseData) {
      return try range(lba, byteCount / blockSize)
    } catch {
      throw .copyAborted
    }
  }

  private func keep(_ result: CopyResult) {
    guard result.isKept else { return }
    copies.withLock { copies in
      copies.removeAll { $0.listIdentifier == result.listIdentifier }
      if copies.count == Limits.copyResults { copies.removeFirst() }
      copies.append(result)
    }
  }
}

extension SenseData {
  /// A/0000: a segment that cannot be copied.
  static let copyAborted = SenseData(0xA, 0x00, 0x00)
  /// A/0D02: a device that is not there, or is not ours.
  static let unreachableCopyTarget = SenseData(0xA, 0x0D, 0x02)
  /// A/0D03: a device that is not what the descriptor says.
  static let wrongCopyTargetType = SenseData(0xA, 0x0D, 0x03)
  /// 5/2606 to 5/2609: too many devices, an unknown kind of device, too many segments, an unknown kind of segment.
  static let tooManyCopyTargets = SenseData(0x5, 0x26, 0x06)
  static let unsupportedCopyTarget = SenseData(0x5, 0x26, 0x07)
  static let tooManyCopySegments = SenseData(0x5, 0x26, 0x08)
  static let unsupportedCopySegment = SenseData(0x5, 0x26, 0x09)
}
