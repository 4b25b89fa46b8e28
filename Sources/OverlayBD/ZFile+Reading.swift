import BlockCore
import CZstd

/// What a thread needs to read ZFiles: fetched bytes, the block that was decoded last, a context.
final class ZFileState: WorkspaceComponent {
  private(set) var fetched = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  private(set) var decoded = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  let context: OpaquePointer
  /// Which block ``decoded`` holds: the file's serial number and the block's; serial 0 for none.
  var decodedBlock: (serial: UInt64, block: UInt64) = (0, 0)
  /// Where the last read ended: the file's serial number and the position.
  var lastEnd: (serial: UInt64, offset: UInt64) = (0, 0)

  required init() {
    guard let context = ZSTD_createDCtx() else { fatalError("no memory for a zstd context") }
    self.context = context
  }

  deinit {
    fetched.deallocate()
    decoded.deallocate()
    ZSTD_freeDCtx(context)
  }

  /// Makes room for the bytes of a batch and for a decoded block.
  @inline(__always)
  func reserve(fetched fetchedCount: Int, decoded decodedCount: Int) {
    if fetched.count < fetchedCount { Self.grow(&fetched, to: fetchedCount) }
    if decoded.count < decodedCount {
      decodedBlock = (0, 0)
      Self.grow(&decoded, to: decodedCount)
    }
  }

  private static func grow(_ memory: inout UnsafeMutableRawBufferPointer, to byteCount: Int) {
    memory.deallocate()
    let rounded = (byteCount + Limits.pageSize - 1) / Limits.pageSize * Limits.pageSize
    memory = .allocate(byteCount: rounded, alignment: Limits.pageSize)
  }
}

extension ZFile {
  /// Blocks that are fetched in one read, because they stand next to each other and all are wanted.
  struct Batch {
    let first: UInt64
    /// The block behind the last one.
    let end: UInt64
    let position: UInt64
    let byteCount: Int
  }

  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    let state = workspace.component(ZFileState.self)
    let isSequential = state.lastEnd == (serial, offset)
    state.lastEnd = (serial, offset &+ UInt64(count))
    var filled = copyDecoded(offset, &destination, state)
    while filled < count {
      let batch = batch(from: offset &+ UInt64(filled), upTo: offset &+ UInt64(count), state)
      var room = UnsafeMutableRawBufferPointer(rebasing: state.fetched[..<batch.byteCount]).mutableBytes
      if try source.readNow(at: batch.position, into: &room, using: workspace) == .mustWait {
        return .mustWait
      }
      filled = try decode(batch, offset, filled, &destination, state, isSequential: isSequential)
    }
    return .done
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let count = destination.byteCount
    try checkRange(at: offset, byteCount: count)
    let state = workspace.component(ZFileState.self)
    let isSequential = state.lastEnd == (serial, offset)
    state.lastEnd = (serial, offset &+ UInt64(count))
    var filled = copyDecoded(offset, &destination, state)
    while filled < count {
      let batch = batch(from: offset &+ UInt64(filled), upTo: offset &+ UInt64(count), state)
      var room = UnsafeMutableRawBufferPointer(rebasing: state.fetched[..<batch.byteCount]).mutableBytes
      // What is there at once takes no longer so.
      try await source.read(at: batch.position, into: &room, using: workspace)
      filled = try decode(batch, offset, filled, &destination, state, isSequential: isSequential)
    }
  }

  public func willNeed(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    let last = min((range.upperBound - 1) >> blockShift, UInt64(table.count))
    source.willNeed(table.position(of: range.lowerBound >> blockShift)..<table.position(of: last + 1))
  }

  /// Bytes of content in a block: the block size, but for the last one.
  @inline(__always)
  func contentCount(of block: UInt64) -> Int {
    Int(min(UInt64(blockSize), byteCount &- block &<< blockShift))
  }

  /// Takes the beginning of a read from the block that this thread decoded last, if it stands there.
  ///
  /// Reads that follow each other share a block whenever layers and blocks are not aligned alike.
  @inline(__always)
  private func copyDecoded(_ offset: UInt64, _ destination: inout MutableRawSpan, _ state: ZFileState) -> Int
  {
    let block = offset &>> blockShift
    guard state.decodedBlock == (serial, block), destination.byteCount > 0 else { return 0 }
    let skipped = Int(offset &- block &<< blockShift)
    let count = min(destination.byteCount, contentCount(of: block) &- skipped)
    destination.withUnsafeMutableBytes { bytes in
      bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: state.decoded[skipped..<skipped &+ count]))
    }
    return count
  }

  @inline(__always)
  private func batch(from start: UInt64, upTo end: UInt64, _ state: ZFileState) -> Batch {
    let first = start &>> blockShift
    let last = (end &- 1) &>> blockShift
    let position = table.position(of: first)
    var next = first &+ 1
    var limit = table.position(of: next)
    while next <= last {
      let extended = table.position(of: next &+ 1)
      if extended &- position > UInt64(Limits.zfileBatchBytes) { break }
      limit = extended
      next &+= 1
    }
    let byteCount = Int(limit &- position)
    state.reserve(fetched: byteCount, decoded: blockSize)
    return Batch(first: first, end: next, position: position, byteCount: byteCount)
  }

  /// Decodes the blocks of a batch into the destination; returns how much of that is filled then.
  private func decode(
    _ batch: Batch, _ offset: UInt64, _ filledBefore: Int, _ destination: inout MutableRawSpan,
    _ state: ZFileState, isSequential: Bool
  ) throws(BlockError) -> Int {
    let count = destination.byteCount
    var filled = filledBefore
    for block in batch.first..<batch.end {
      let start = Int(table.position(of: block) &- batch.position)
      let end = Int(table.position(of: block &+ 1) &- batch.position)
      let stored = UnsafeRawBufferPointer(rebasing: state.fetched[start..<end])
      let content = contentCount(of: block)
      let skipped = Int(offset &+ UInt64(filled) &- block &<< blockShift)
      let wanted = min(content &- skipped, count &- filled)
      let isGood = destination.withUnsafeMutableBytes { bytes in
        let target = UnsafeMutableRawBufferPointer(rebasing: bytes[filled..<filled &+ wanted])
        if wanted == content { return decode(stored, .whole, into: target, state) }
        // The rest of the block is worth decoding only for a reader that comes for it next.
        if skipped == 0 && !isSequential && codec.decompressesBeginnings {
          return decode(stored, .beginning, into: target, state)
        }
        state.decodedBlock = (0, 0)
        let whole = UnsafeMutableRawBufferPointer(rebasing: state.decoded[0..<content])
        guard decode(stored, .whole, into: whole, state) else { return false }
        state.decodedBlock = (serial, block)
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: whole[skipped..<skipped &+ wanted]))
        return true
      }
      guard isGood else { throw damage(in: block, stored) }
      filled &+= wanted
    }
    return filled
  }

  /// How much of a block is wanted.
  private enum Part {
    case whole
    case beginning
  }

  /// Checks all of a block and decompresses a part of it; whether that went well.
  @inline(__always)
  private func decode(
    _ stored: UnsafeRawBufferPointer, _ part: Part, into target: UnsafeMutableRawBufferPointer,
    _ state: ZFileState
  ) -> Bool {
    var compressed = stored
    if hasBlockChecksums {
      compressed = UnsafeRawBufferPointer(rebasing: stored[0..<stored.count &- 4])
      let expected = UInt32(
        littleEndian: stored.loadUnaligned(fromByteOffset: stored.count &- 4, as: UInt32.self))
      guard Checksum.register(over: compressed, from: Checksum.blockSeed) == expected else { return false }
    }
    return switch part {
    case .whole: codec.decompress(compressed, into: target, state.context)
    case .beginning: codec.decompressBeginning(compressed, into: target)
    }
  }

  /// Says what is wrong with a block that could not be decoded.
  private func damage(in block: UInt64, _ stored: UnsafeRawBufferPointer) -> BlockError {
    let place = "block \(block) at byte \(table.position(of: block))"
    let remedy = "The file is damaged there; fetch or build it again."
    if hasBlockChecksums {
      let compressed = UnsafeRawBufferPointer(rebasing: stored[0..<stored.count - 4])
      let computed = Checksum.register(over: compressed, from: Checksum.blockSeed)
      let expected = UInt32(
        littleEndian: stored.loadUnaligned(fromByteOffset: stored.count - 4, as: UInt32.self))
      if computed != expected {
        return BlockError(
          .checksumMismatch, step: "read", object: source.name,
          cause: "\(place) has checksum 0x\(String(expected, radix: 16)), and its bytes give "
            + "0x\(String(computed, radix: 16))",
          remedy: remedy)
      }
    }
    return BlockError(
      .corrupt, step: "read", object: source.name,
      cause: "\(place) does not decompress to \(contentCount(of: block)) bytes", remedy: remedy)
  }
}
