import BlockCore
import SCSI
import Testing
import TransportTCMU

/// Rings that lie: an error or a sense code, never a wait without end.
@Suite struct BrokenRingTests {
  private let slot = CommandSlot()

  /// A ring of 4096 bytes with one command in it, of which something is changed.
  private func next(_ change: (SimulatedKernel) throws -> Void) throws -> TCMURing.Next {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    _ = kernel.submit([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], [kernel.dataOffset..<kernel.dataOffset + 512])
    try change(kernel)
    return try kernel.ring.next(into: slot)
  }

  private static func put(_ value: some BitwiseCopyable, _ offset: Int) -> (SimulatedKernel) -> Void {
    { $0.memory.store(value, at: SimulatedKernel.ringOffset + offset) }
  }

  private static let lengths: [UInt32] = [
    // A length of zero, of less than an answer, beyond the head, beyond the ring.
    1, 8 | 1, 104 | 1, 136 | 1, 8192 | 1, 0xFFFF_FFF8 | 1, 0, 2, 136, 4096 | 2,
  ]

  @Test(arguments: lengths)
  func aHeadOfAnEntryThatCannotBe(word: UInt32) throws {
    let error = #expect(throws: BlockError.self) { _ = try next(Self.put(word, 0)) }
    #expect(error?.kind == .corrupt)
    #expect(error?.description.contains("the entry at 0") == true)
  }

  /// The head lies between two entries, beyond the ring, or is no multiple of 8.
  @Test(arguments: [64, 120, 4096, 8000, 0xFFFF_FFF8, 4, 127])
  func aHeadThatCannotBe(head: Int) throws {
    let error = #expect(throws: BlockError.self) { _ = try next { $0.publish(head: head) } }
    #expect(error?.kind == .corrupt)
  }

  private static let lies: [(UInt32, Int)] = [
    // More pieces than the entry has room for, or than a command may have; a second buffer that has none.
    (6, 8), (0xFFFF_FFFF, 8), (100, 12), (0xFFFF_FFFF, 12), (0xFFFF_FFFF, 16),
    // The CDB before the entry, in its fixed part, behind it, across its end.
    (0, 24), (128, 24), (175, 24), (256, 24), (251, 24), (0xFFFF_FFFF, 24), (1, 28),
    // A piece before the data area, behind it, too long.
    (0, 48), (127, 48), (4223, 48), (0xFFFF_FFFF, 48), (1, 52), (1_048_577, 56), (0xFFFF_FFFF, 60),
  ]

  @Test(arguments: lies)
  func aCommandThatLiesIsRejected(value: UInt32, offset: Int) throws {
    let next = try next(Self.put(value, offset))
    guard case .rejected(let result) = next else {
      Issue.record("not rejected")
      return
    }
    #expect(result.status == .checkCondition && result.sense?.key == 0xB)
    #expect(slot.command.data.byteCount == 0)
  }

  @Test func aLongBlockKeepsItsBeginning() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    var block = [UInt8](repeating: 7, count: 260)
    block[0] = 0x7F
    block[7] = 252
    _ = kernel.submit(block, [])
    guard case .command = try kernel.ring.next(into: slot) else {
      Issue.record("no command")
      return
    }
    #expect(slot.command.cdb.count == 32)
    #expect(slot.command.cdb.bytes[31] == 7)
  }

  @Test func manyPiecesHaveRoom() throws {
    let kernel = try SimulatedKernel(ringByteCount: 1 << 20)
    let data = kernel.dataOffset
    _ = kernel.submit([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], (0..<3000).map { data + $0..<data + $0 + 1 })
    guard case .command = try kernel.ring.next(into: slot) else {
      Issue.record("no command")
      return
    }
    #expect(slot.command.data.byteCount == 3000)
    _ = kernel.submit(
      [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], (0...Limits.piecesPerCommand).map { _ in data..<data + 1 })
    guard case .rejected = try kernel.ring.next(into: slot) else {
      Issue.record("not rejected")
      return
    }
  }

  @Test func moreAnswersThanCommands() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    #expect(throws: BlockError.self) { try kernel.ring.complete(1, .good) }
    _ = kernel.submit([0, 0, 0, 0, 0, 0], [])
    // It is there, but was not taken.
    #expect(throws: BlockError.self) { try kernel.ring.complete(1, .good) }
    _ = try kernel.ring.next(into: slot)
    try kernel.ring.complete(1, .good)
    #expect(throws: BlockError.self) { try kernel.ring.complete(1, .good) }
  }

  @Test func anEntryThatChangesAfterItWasTaken() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    _ = kernel.submit([0, 0, 0, 0, 0, 0], [])
    _ = try kernel.ring.next(into: slot)
    Self.put(UInt32(0), 0)(kernel)
    #expect(throws: BlockError.self) { try kernel.ring.complete(1, .good) }
  }

  @Test func aRingThatWasResetUnderUs() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    for _ in 0..<3 {
      _ = kernel.submit([0, 0, 0, 0, 0, 0], [])
      _ = try kernel.ring.next(into: slot)
    }
    kernel.memory.store(UInt32(0), at: RingLayout.tailOffset)
    kernel.publish(head: 0)
    #expect(throws: BlockError.self) { _ = try kernel.ring.next(into: slot) }
  }

  private static let mailboxes: [(Int, UInt32)] = [
    // Version, flags, offset and size of the ring, tail.
    (0, 0x000F_0001), (0, 0x000E_0002), (4, 0), (4, 64), (4, 132), (4, 0xFFFF_FFF8), (8, 0), (8, 104),
    (8, 4100),
    (8, 0xFFFF_FFF8), (64, 4096), (64, 4), (64, 0xFFFF_FFFF),
  ]

  @Test(arguments: mailboxes)
  func aMailboxThatCannotBe(offset: Int, value: UInt32) throws {
    let memory = try RingMemory(unshared: 8192)
    SimulatedKernel.fillMailbox(memory, ringByteCount: 4096)
    memory.store(value, at: offset)
    var error: BlockError?
    do throws(BlockError) {
      _ = try TCMURing(memory, name: "simulated")
    } catch let thrown {
      error = thrown
    }
    #expect(error?.kind == .corrupt || error?.kind == .unsupported)
  }

  @Test(arguments: [0, 127, -1, Int.max])
  func aSizeThatNoRingHas(byteCount: Int) {
    var kind: BlockError.Kind?
    do throws(BlockError) {
      _ = try RingMemory(unshared: byteCount)
    } catch {
      kind = error.kind
    }
    #expect(kind == .invalidArgument)
  }
}
