import BlockCore

/// What a READ or WRITE asks for, whichever of its four forms it has (SBC-3, 5.10 to 5.14 and 5.36 to 5.40).
struct Transfer {
  let isWrite: Bool
  let lba: UInt64
  let blocks: UInt64
  /// Byte 1 of the longer forms: protection in bits 7 to 5, DPO bit 4, FUA bit 3.
  private let options: UInt8
  private let control: UInt8

  /// Reads a CDB; `nil` if it is another command's.
  @inline(__always)
  init?(_ cdb: CommandBlock) {
    switch cdb.operationCode {
    case 0x08, 0x0A:
      lba = UInt64(cdb.uint24(1) & 0x1F_FFFF)
      let count = cdb.uint8(4)
      blocks = count == 0 ? 256 : UInt64(count)
      options = 0
      control = cdb.uint8(5)
    case 0x28, 0x2A:
      lba = UInt64(cdb.uint32(2))
      blocks = UInt64(cdb.uint16(7))
      options = cdb.uint8(1)
      control = cdb.uint8(9)
    case 0xA8, 0xAA:
      lba = UInt64(cdb.uint32(2))
      blocks = UInt64(cdb.uint32(6))
      options = cdb.uint8(1)
      control = cdb.uint8(11)
    case 0x88, 0x8A:
      lba = cdb.uint64(2)
      blocks = UInt64(cdb.uint32(10))
      options = cdb.uint8(1)
      control = cdb.uint8(15)
    default: return nil
    }
    isWrite = cdb.operationCode & 0x02 != 0
  }

  /// Whether it asks for protection information, or for what NACA means; neither is there.
  var asksTooMuch: Bool { options & 0xE0 | control & 0x04 != 0 }
  var forcesUnitAccess: Bool { options & 0x08 != 0 }
}

/// The bytes of a disk that a command moves, and the memory that they go to or come from, cut into requests.
struct BlockStream {
  /// One request, and its memory.
  struct Part {
    let request: BlockRequest
    let memory: UnsafeMutableRawBufferPointer
    let isBounced: Bool
  }

  private let isWrite: Bool
  private let flags: BlockRequest.Flags
  private let blockSize: Int
  private var offset: UInt64
  private var remaining: Int
  private var cursor: PieceCursor

  /// Begins a stream.
  ///
  /// - Parameters:
  ///   - isWrite: Whether the disk's bytes are replaced.
  ///   - flags: Those of each request.
  ///   - range: The bytes of the disk: whole blocks. Of a read the last block may go beyond the memory; what is
  ///     beyond is dropped.
  ///   - cursor: Where the memory begins.
  ///   - blockSize: The logical block's.
  init(
    isWrite: Bool, flags: BlockRequest.Flags, range: Range<UInt64>, cursor: PieceCursor, blockSize: Int
  ) {
    self.isWrite = isWrite
    self.flags = flags
    self.blockSize = blockSize
    offset = range.lowerBound
    remaining = Int(range.upperBound - range.lowerBound)
    self.cursor = cursor
  }

  /// Whether all that is left goes in one request.
  var isOneRequest: Bool {
    mutating get { cursor.contiguous(atMost: Limits.requestBytes).count >= remaining }
  }

  /// The next request: as many whole blocks as lie together in the memory, or through the thread's own memory.
  @inline(__always)
  mutating func next(_ workspace: Workspace) -> Part? {
    guard remaining > 0 else { return nil }
    let together = cursor.contiguous(atMost: min(remaining, Limits.requestBytes))
    let count = together.count / blockSize * blockSize
    guard count > 0 else { return nextBounced(workspace) }
    cursor.advance(count)
    return part(UnsafeMutableRawBufferPointer(rebasing: together[..<count]), isBounced: false)
  }

  @inline(never)
  private mutating func nextBounced(_ workspace: Workspace) -> Part {
    let memory = workspace.component(BounceMemory.self).take(min(remaining, Limits.requestBytes))
    if isWrite { cursor.read(into: memory) }
    return part(memory, isBounced: true)
  }

  private mutating func part(_ memory: UnsafeMutableRawBufferPointer, isBounced: Bool) -> Part {
    let request = BlockRequest(
      isWrite ? .write : .read, at: offset, byteCount: UInt64(memory.count), flags: flags)
    offset += UInt64(memory.count)
    remaining -= memory.count
    return Part(request: request, memory: memory, isBounced: isBounced)
  }

  /// Takes a request's end: brings what was read to where it belongs.
  @inline(__always)
  mutating func finish(_ part: Part) {
    if part.isBounced && !isWrite { cursor.write(UnsafeRawBufferPointer(part.memory)) }
  }
}
