import BlockCore
import Glibc
import LinuxIO
import SCSI
import TestKit
import TransportTCMU

/// The kernel's side of a ring in memory of the test's own: it submits commands and takes answers, by the rules of
/// target_core_user.
final class SimulatedKernel {
  /// A command that was submitted and not yet answered.
  struct Outstanding {
    var block: [UInt8]
    var pieces: [Range<Int>]
  }

  /// What the kernel reads out of an answer.
  struct Answer: Equatable {
    var identifier: UInt16
    var status: UInt8
    var flags: UInt8
    var readLength: UInt32
    var sense: [UInt8]
  }

  static let ringOffset = 128
  /// Our own mapping of the memory.
  let memory: RingMemory
  /// The other side's ring, in a mapping of its own.
  let ring: TCMURing
  let ringByteCount: Int
  private let file: Descriptor
  private(set) var outstanding: [UInt16: Outstanding] = [:]
  private var head = 0
  private var cleaned = 0
  private var nextIdentifier: UInt16 = 1

  /// Makes a ring with a data area behind it.
  init(ringByteCount: Int, dataByteCount: Int = 1 << 20, flags: UInt16 = 0xF, startAt start: Int = 0) throws {
    self.ringByteCount = ringByteCount
    let byteCount = Self.ringOffset + ringByteCount + dataByteCount
    let scratch = try Scratch()
    file = try Descriptor.open(scratch("ring"), O_RDWR | O_CREAT)
    guard ftruncate(file.raw, off_t(byteCount)) == 0 else {
      throw BlockError(.noSpace, step: "grow", object: "the ring's file", cause: "errno \(errno)")
    }
    memory = try RingMemory(mapping: file, byteCount: byteCount, name: "simulated")
    Self.fillMailbox(memory, ringByteCount: ringByteCount, flags: flags)
    memory.store(UInt32(start), at: RingLayout.headOffset)
    memory.store(UInt32(start), at: RingLayout.tailOffset)
    head = start
    cleaned = start
    ring = try TCMURing(RingMemory(mapping: file, byteCount: byteCount, name: "simulated"), name: "simulated")
  }

  /// One more mapping of the memory.
  func map() throws -> RingMemory {
    try RingMemory(mapping: file, byteCount: memory.byteCount, name: "simulated")
  }

  /// Whether everything that was submitted is behind the tail.
  var isDone: Bool { memory.loadAcquiring(RingLayout.tailOffset) == UInt32(head) }

  static func fillMailbox(_ memory: borrowing RingMemory, ringByteCount: Int, flags: UInt16 = 0xF) {
    memory.store(UInt16(2), at: 0)
    memory.store(flags, at: 2)
    memory.store(UInt32(ringOffset), at: 4)
    memory.store(UInt32(ringByteCount), at: 8)
  }

  var dataOffset: Int { Self.ringOffset + ringByteCount }

  /// Bytes that can be submitted.
  private var free: Int {
    let used = (head - cleaned + ringByteCount) % ringByteCount
    // Head and tail are equal only if the ring is empty.
    return ringByteCount - used - 8
  }

  /// Submits a command; false if there is no room.
  ///
  /// - Parameters:
  ///   - block: The CDB.
  ///   - pieces: Where its data is, in bytes from the start of the memory.
  func submit(_ block: [UInt8], _ pieces: [Range<Int>]) -> UInt16? {
    let size = max(48 + 16 * pieces.count, 112) + (block.count + 7) / 8 * 8
    let untilEnd = ringByteCount - head
    let needed = untilEnd < size ? untilEnd + size : size
    guard needed <= free else { return nil }
    if untilEnd < size {
      write(UInt32(untilEnd), 0)
      advance(untilEnd)
    }
    while outstanding[nextIdentifier] != nil || nextIdentifier == 0 { nextIdentifier &+= 1 }
    let identifier = nextIdentifier
    nextIdentifier &+= 1
    for offset in stride(from: 0, to: size, by: 8) { write(UInt64(0), offset) }
    write(UInt32(size) | 1, 0)
    write(identifier, 4)
    write(UInt32(pieces.count), 8)
    write(UInt64(Self.ringOffset + head + size - (block.count + 7) / 8 * 8), 24)
    for (index, piece) in pieces.enumerated() {
      write(UInt64(piece.lowerBound), 48 + 16 * index)
      write(UInt64(piece.count), 56 + 16 * index)
    }
    for (index, byte) in block.enumerated() { write(byte, size - (block.count + 7) / 8 * 8 + index) }
    outstanding[identifier] = Outstanding(block: block, pieces: pieces)
    advance(size)
    publish()
    return identifier
  }

  /// Submits an entry of another kind: a head and zeros.
  func submitPassive(operation: UInt32, byteCount: Int) -> Bool {
    guard byteCount <= min(free, ringByteCount - head) else { return false }
    for offset in stride(from: 0, to: byteCount, by: 8) { write(UInt64(0), offset) }
    write(UInt32(byteCount) | operation, 0)
    advance(byteCount)
    publish()
    return true
  }

  /// Takes what was answered, as the kernel does on a kick.
  ///
  /// - Returns: The answers; `nil` among them stands for one that the kernel does not know.
  func takeAnswers() -> [Answer?] {
    var answers: [Answer?] = []
    let tail = Int(memory.loadAcquiring(RingLayout.tailOffset))
    while cleaned != tail {
      let start = Self.ringOffset + cleaned
      let word = memory.load(start, as: UInt32.self)
      if word & 7 == 1 {
        let answer = Answer(
          identifier: memory.load(start + 4, as: UInt16.self),
          status: memory.load(start + 8, as: UInt8.self),
          flags: memory.load(start + 7, as: UInt8.self),
          readLength: memory.load(start + 12, as: UInt32.self),
          sense: (0..<96).map { memory.load(start + 16 + $0, as: UInt8.self) })
        answers.append(outstanding.removeValue(forKey: answer.identifier) == nil ? nil : answer)
      }
      cleaned = (cleaned + Int(word & ~7)) % ringByteCount
    }
    return answers
  }

  /// Writes a field of the entry at the head.
  func write(_ value: some BitwiseCopyable, _ offset: Int) {
    memory.store(value, at: Self.ringOffset + head + offset)
  }

  func advance(_ count: Int) { head = (head + count) % ringByteCount }

  func publish() { memory.storeReleasing(UInt32(head), at: RingLayout.headOffset) }

  /// Says that the head is somewhere.
  func publish(head: Int) {
    memory.storeReleasing(UInt32(truncatingIfNeeded: head), at: RingLayout.headOffset)
  }
}
