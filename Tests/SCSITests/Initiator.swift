import BlockCore
import Glibc
import SCSI

/// Sends commands to a logical unit, in both phases, as a transport does.
final class Initiator: Sendable {
  let unit: LogicalUnit

  init(_ disk: any Volume, _ change: (inout LogicalUnit.Options) -> Void = { _ in }) {
    var options = LogicalUnit.Options()
    options.serial = { "11112222-3333-4444-5555-666677778888" }
    change(&options)
    unit = LogicalUnit(disk, options)
  }

  struct Answer {
    let result: CommandResult
    /// The whole buffer.
    let buffer: [UInt8]
    /// Whether it was served in the first phase.
    let wasServedNow: Bool

    var status: CommandResult.Status { result.status }
    /// What the initiator gets.
    var data: [UInt8] { Array(buffer.prefix(result.dataInCount ?? buffer.count)) }
    /// Sense key, code and qualifier as one number: 0x52400.
    var sense: Int? {
      result.sense.map { Int($0.key) << 16 | Int($0.code) << 8 | Int($0.qualifier) }
    }
  }

  /// Sends a command with a buffer of pieces of some lengths.
  func send(
    _ cdb: [UInt8], data: [UInt8], pieces lengths: [Int]? = nil,
    using workspace: sending Workspace = Workspace()
  ) async -> Answer {
    let lengths = lengths ?? (data.isEmpty ? [] : [data.count])
    precondition(lengths.reduce(0, +) == data.count)
    // Pieces lie apart, with bytes between them that nobody may touch.
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: data.count + 16 * (lengths.count + 1), alignment: 1)
    memory.initializeMemory(as: UInt8.self, repeating: 0xA5)
    let pieces = UnsafeMutableBufferPointer<iovec>.allocate(capacity: lengths.count)
    defer {
      memory.deallocate()
      pieces.deallocate()
    }
    var start = 16
    var taken = 0
    for (index, length) in lengths.enumerated() {
      let part = UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + length])
      part.copyBytes(from: data[taken..<taken + length])
      pieces.initializeElement(at: index, to: iovec(iov_base: part.baseAddress, iov_len: length))
      start += length + 16
      taken += length
    }
    let command = Command(cdb: CommandBlock(cdb), data: DataBuffer(UnsafeBufferPointer(pieces)))
    let immediate = unit.performNow(command, using: workspace)
    var result = CommandResult.good
    if let immediate { result = immediate } else { result = await unit.perform(command, using: workspace) }
    var buffer: [UInt8] = []
    start = 0
    for length in lengths {
      precondition(memory[start..<start + 16].allSatisfy { $0 == 0xA5 }, "bytes between pieces were changed")
      buffer += memory[start + 16..<start + 16 + length]
      start += length + 16
    }
    precondition(memory[start..<start + 16].allSatisfy { $0 == 0xA5 }, "bytes behind the pieces were changed")
    return Answer(result: result, buffer: buffer, wasServedNow: immediate != nil)
  }

  /// Sends a command with room for data-in.
  func send(_ cdb: [UInt8], room: Int = 0) async -> Answer {
    await send(cdb, data: [UInt8](repeating: 0xEE, count: room))
  }
}

/// CDBs.
enum CDB {
  static func bytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  /// A READ, WRITE, VERIFY or the like of 10, 12 or 16 bytes, by its operation code.
  static func extent(_ code: UInt8, _ lba: UInt64, _ blocks: UInt32, _ options: UInt8 = 0) -> [UInt8] {
    switch code >> 5 {
    case 4: [code, options] + bytes(lba) + bytes(blocks) + [0, 0]
    case 5: [code, options] + bytes(UInt32(lba)) + bytes(blocks) + [0, 0]
    default: [code, options] + bytes(UInt32(lba)) + [0] + bytes(UInt16(blocks)) + [0]
    }
  }

  static func compareAndWrite(_ lba: UInt64, _ blocks: UInt8, _ options: UInt8 = 0) -> [UInt8] {
    [0x89, options] + bytes(lba) + [0, 0, 0, blocks, 0, 0]
  }

  static func inquiry(page: UInt8? = nil, length: UInt16 = 255) -> [UInt8] {
    [0x12, page == nil ? 0 : 1, page ?? 0] + bytes(length) + [0]
  }

  static let testUnitReady: [UInt8] = [0, 0, 0, 0, 0, 0]
}
