import BlockCore
import CAllocationCount
import Glibc
import SCSI
import Testing

/// READ and WRITE take no memory in the first phase, wherever their pieces lie.
@Suite(.serialized, .enabled(if: isOptimized, "an unoptimized build allocates by itself: use -c release"))
struct AllocationTests {
  @Test func readingAndWritingAllocatesNothing() throws {
    let disk = ScriptedDisk(blocks: 4096)
    disk.state.withLock { $0.keepsLog = false }
    let unit = LogicalUnit(disk, LogicalUnit.Options())
    let workspace = Workspace()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 << 10, alignment: 4096)
    let pieces = UnsafeMutableBufferPointer<iovec>.allocate(capacity: 3)
    defer {
      memory.deallocate()
      pieces.deallocate()
    }
    /// Sends so many commands of each of the eight codes; a quarter of them through pieces that are no whole blocks.
    func pass(_ rounds: Int) -> Int {
      var done = 0
      for round in 0..<rounds {
        let blocks = 1 + round % 64
        let lba = round &* 37 % 4000
        let count = blocks * 512
        let cut = round % 4 == 0 ? 100 : blocks / 2 * 512
        for (index, range) in [0..<cut, cut..<cut, cut..<count].enumerated() {
          pieces[index] = iovec(
            iov_base: (memory.baseAddress ?? .init(bitPattern: 1)).map { $0 + range.lowerBound },
            iov_len: range.count)
        }
        let data = DataBuffer(UnsafeBufferPointer(pieces))
        for code: UInt8 in [0x08, 0x28, 0xA8, 0x88, 0x0A, 0x2A, 0xAA, 0x8A] {
          var cdb = CommandBlock()
          cdb.count = 16
          cdb.bytes[0] = code
          let (address, length) =
            switch code >> 5 {
            case 0: (3, 4)
            case 1: (5, 8)
            case 5: (5, 9)
            default: (9, 13)
            }
          cdb.bytes[address - 1] = UInt8(lba >> 8)
          cdb.bytes[address] = UInt8(lba & 0xFF)
          cdb.bytes[length] = UInt8(blocks)
          if unit.performNow(Command(cdb: cdb, data: data), using: workspace) == .good { done += 1 }
        }
      }
      return done
    }
    _ = pass(64)
    callocation_start(nil)
    let done = pass(13000)
    let count = callocation_stop()
    #expect(done == 104_000)
    #expect(count == 0)
  }
}

/// Whether the tests were built as a release.
private var isOptimized: Bool {
  #if DEBUG
    false
  #else
    true
  #endif
}
