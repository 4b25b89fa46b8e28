import BlockCore

/// The parameter list of EXTENDED COPY(LID1), checked (SPC-4, 6.4.3 to 6.4.6).
struct CopyParameters {
  /// A device, by its NAA designator.
  struct Target {
    let designator: [UInt8]
    /// Bytes in a logical block; 0 if the descriptor does not say.
    let blockSize: Int
  }

  /// Blocks that are to be copied.
  struct Segment {
    /// Indexes of the devices.
    let source: Int
    let target: Int
    let countsTargetBlocks: Bool
    let blocks: UInt16
    let sourceLBA: UInt64
    let targetLBA: UInt64
  }

  static let headerBytes = 16
  /// Bytes of the longest list.
  static let mostBytes = headerBytes + Limits.copyDescriptorBytes
  /// The descriptor types that are known: segments from block to block, and devices by designator.
  static let descriptorTypes: [UInt8] = [0x02, 0xE4]
  private static let targetBytes = 32
  private static let segmentBytes = 28

  let listIdentifier: UInt8
  /// Whether the result can be asked for.
  let isKept: Bool
  let targets: [Target]
  let segments: [Segment]

  /// Reads a list.
  ///
  /// - Parameters:
  ///   - list: What has come of it.
  ///   - listLength: How long it is by the CDB.
  init(_ list: [UInt8], listLength: Int) throws(SenseData) {
    guard list.count >= Self.headerBytes else { throw .parameterListLength }
    let bytes = list.span.bytes
    listIdentifier = list[0]
    // LIST ID USAGE: 0 keeps the result, 2 drops it, 3 has no identifier.
    let usage = list[1] >> 3 & 3
    guard usage != 1, usage != 3 || listIdentifier == 0 else { throw .invalidParameter(1) }
    isKept = usage == 0
    let targetLength = Int(bytes.bigEndian(2, as: UInt16.self))
    let segmentLength = Int(bytes.bigEndian(8, as: UInt32.self))
    guard bytes.bigEndian(12, as: UInt32.self) == 0 else { throw .invalidParameter(12) }
    guard targetLength + segmentLength <= Limits.copyDescriptorBytes,
      Self.headerBytes + targetLength + segmentLength <= min(list.count, listLength)
    else { throw .parameterListLength }
    guard targetLength % Self.targetBytes == 0 else { throw .invalidParameter(2) }
    guard targetLength / Self.targetBytes <= Limits.copyTargets else { throw .tooManyCopyTargets }
    targets = try Self.targets(list[Self.headerBytes..<Self.headerBytes + targetLength])
    let start = Self.headerBytes + targetLength
    segments = try Self.segments(list[start..<start + segmentLength])
  }

  private static func targets(_ list: ArraySlice<UInt8>) throws(SenseData) -> [Target] {
    var targets: [Target] = []
    for start in stride(from: list.startIndex, to: list.endIndex, by: targetBytes) {
      let bytes = Array(list[start..<start + targetBytes])
      guard bytes[0] == 0xE4 else { throw .unsupportedCopyTarget }
      // A disk, named by an NAA designator of 16 bytes in binary, of the logical unit.
      guard bytes[1] & 0x1F == 0 else { throw .wrongCopyTargetType }
      guard bytes[4] & 0x0F == 1, bytes[5] & 0x3F == 3, bytes[7] == 16 else {
        throw .unreachableCopyTarget
      }
      let blockSize = Int(bytes[29]) << 16 | Int(bytes[30]) << 8 | Int(bytes[31])
      targets.append(Target(designator: Array(bytes[8..<24]), blockSize: blockSize))
    }
    return targets
  }

  private static func segments(_ list: ArraySlice<UInt8>) throws(SenseData) -> [Segment] {
    var segments: [Segment] = []
    var start = list.startIndex
    while start < list.endIndex {
      guard list[start] == 0x02 else { throw .unsupportedCopySegment }
      guard list.endIndex - start >= segmentBytes else { throw .parameterListLength }
      guard segments.count < Limits.copySegments else { throw .tooManyCopySegments }
      let segment = Array(list[start..<start + segmentBytes])
      let bytes = segment.span.bytes
      guard bytes.bigEndian(2, as: UInt16.self) == 24 else { throw .invalidParameter(start + 2) }
      segments.append(
        Segment(
          source: Int(bytes.bigEndian(4, as: UInt16.self)), target: Int(bytes.bigEndian(6, as: UInt16.self)),
          countsTargetBlocks: segment[1] & 0x02 != 0, blocks: bytes.bigEndian(10),
          sourceLBA: bytes.bigEndian(12), targetLBA: bytes.bigEndian(20)))
      start += segmentBytes
    }
    return segments
  }
}
