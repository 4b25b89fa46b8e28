import BlockCore
import BlockSim
import SCSI
import TestKit
import Testing
import TransportTCMU

/// The command ring against a kernel that keeps the rules, and against one that does not.
@Suite struct RingTests {
  private static let readTen: [UInt8] = [0x28, 0, 0, 0, 0, 1, 0, 0, 8, 0]
  private let slot = CommandSlot()

  private func isCommand(_ next: TCMURing.Next) -> Bool {
    if case .command = next { true } else { false }
  }

  private func isEmpty(_ next: TCMURing.Next) -> Bool {
    if case .empty = next { true } else { false }
  }

  private func rejection(_ next: TCMURing.Next) -> CommandResult? {
    if case .rejected(let result) = next { result } else { nil }
  }

  private static func pick<Choice>(_ choices: [Choice], _ random: inout SplitMix64) -> Choice {
    choices[Int.random(in: choices.indices, using: &random)]
  }

  @Test func aCommandComesAndIsAnswered() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    #expect(isEmpty(try kernel.ring.next(into: slot)))
    let data = kernel.dataOffset
    let identifier = kernel.submit(Self.readTen, [data + 4096..<data + 8192, data..<data + 512])
    #expect(isCommand(try kernel.ring.next(into: slot)))
    #expect(slot.identifier == identifier)
    #expect((0..<10).map { slot.command.cdb.bytes[$0] } == Self.readTen)
    #expect(slot.command.cdb.count == 10)
    #expect(slot.command.data.byteCount == 4608)
    #expect(slot.command.data.pieces.map(\.iov_len) == [4096, 512])
    let bases = slot.command.data.pieces.map { UInt(bitPattern: $0.iov_base) }
    #expect(bases[0] - bases[1] == 4096)
    #expect(isEmpty(try kernel.ring.next(into: slot)))
    try kernel.ring.complete(slot.identifier, CommandResult(.good, dataInCount: 17))
    let answers = kernel.takeAnswers()
    #expect(answers.count == 1)
    #expect(answers[0]?.status == 0 && answers[0]?.flags == 2 && answers[0]?.readLength == 17)
    #expect(kernel.outstanding.isEmpty)
  }

  @Test func senseDataIsWritten() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    let identifier = try #require(kernel.submit([0, 0, 0, 0, 0, 0], []))
    #expect(isCommand(try kernel.ring.next(into: slot)))
    let sense = SenseData(0x3, 0x11, 0x01, information: 0x0102_0304, specific: 0x80_00_07)
    try kernel.ring.complete(identifier, CommandResult(.checkCondition, sense: sense, dataInCount: 4))
    let answer = try #require(kernel.takeAnswers().first ?? nil)
    #expect(answer.status == 2)
    // Not the flag: the kernel would take the command for one that has worked.
    #expect(answer.flags == 0)
    #expect(
      Array(answer.sense.prefix(18)) == [0xF0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 1, 0, 0x80, 0, 7])
    #expect(answer.sense.dropFirst(18).allSatisfy { $0 == 0 })
  }

  @Test func aKernelWithoutReadLengthGetsNone() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096, flags: 1)
    let identifier = try #require(kernel.submit(Self.readTen, []))
    #expect(isCommand(try kernel.ring.next(into: slot)))
    try kernel.ring.complete(identifier, CommandResult(.good, dataInCount: 4))
    #expect(kernel.takeAnswers().first??.flags == 0)
  }

  @Test func answersComeInAnyOrderAndFlagsDoNotStick() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    let one = try #require(kernel.submit(Self.readTen, []))
    let two = try #require(kernel.submit(Self.readTen, []))
    for _ in 0..<2 { #expect(isCommand(try kernel.ring.next(into: slot))) }
    try kernel.ring.complete(two, CommandResult(.good, dataInCount: 1))
    try kernel.ring.complete(one, CommandResult(.busy))
    let answers = kernel.takeAnswers()
    #expect(answers.map { $0?.identifier } == [two, one])
    #expect(answers.map { $0?.flags } == [2, 0])
    #expect(answers.map { $0?.status } == [0, 8])
  }

  @Test func passiveEntriesArePassedOver() throws {
    let kernel = try SimulatedKernel(ringByteCount: 4096)
    #expect(kernel.submitPassive(operation: 2, byteCount: 40))
    #expect(kernel.submitPassive(operation: 5, byteCount: 16))
    #expect(isEmpty(try kernel.ring.next(into: slot)))
    // An operation that does not exist is marked for the kernel.
    #expect(kernel.memory.load(SimulatedKernel.ringOffset + 40 + 7, as: UInt8.self) == 1)
    #expect(try kernel.ring.releasePassive())
    #expect(try !kernel.ring.releasePassive())
    #expect(kernel.memory.loadAcquiring(RingLayout.tailOffset) == 56)
    // Behind a command they wait for its answer.
    let identifier = try #require(kernel.submit(Self.readTen, []))
    #expect(kernel.submitPassive(operation: 2, byteCount: 40))
    #expect(isCommand(try kernel.ring.next(into: slot)))
    #expect(isEmpty(try kernel.ring.next(into: slot)))
    #expect(try !kernel.ring.releasePassive())
    try kernel.ring.complete(identifier, .good)
    #expect(kernel.memory.loadAcquiring(RingLayout.tailOffset) == 56 + 128 + 40)
  }

  /// Commands of all lengths and kinds, answered in any order, many times around a small ring.
  @Test func aLongRandomRun() throws {
    let seed = Seed.of("ring")
    var random = SplitMix64(seed: seed)
    let kernel = try SimulatedKernel(
      ringByteCount: 8 * Int.random(in: 200...900, using: &random), startAt: 1600)
    var served: [(identifier: UInt16, status: CommandResult.Status)] = []
    var answered = 0
    for _ in 0..<100_000 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<4:
        let start = kernel.dataOffset
        let pieces = (0..<Int.random(in: 0...12, using: &random)).map { _ in
          let from = start + 4096 * Int.random(in: 0..<200, using: &random)
          return from..<from + Int.random(in: 0...8192, using: &random)
        }
        let (operation, count) = Self.pick(
          [(0x00, 6), (0x2A, 10), (0x88, 16), (0xA8, 12), (0x7F, 32)], &random)
        var block = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        block[0] = UInt8(operation)
        if operation == 0x7F { block[7] = 24 }
        _ = kernel.submit(block, pieces)
      case 4:
        _ = kernel.submitPassive(
          operation: Self.pick([2, 4], &random), byteCount: 8 * Int.random(in: 1...8, using: &random))
      case 5..<8:
        switch try kernel.ring.next(into: slot) {
        case .empty: _ = try kernel.ring.releasePassive()
        case .rejected: Issue.record("a sound command was rejected")
        case .command:
          let expected = try #require(kernel.outstanding[slot.identifier])
          #expect((0..<slot.command.cdb.count).map { slot.command.cdb.bytes[$0] } == expected.block)
          #expect(slot.command.data.pieces.map(\.iov_len) == expected.pieces.map(\.count))
          served.append((slot.identifier, Self.pick([.good, .checkCondition, .busy], &random)))
        }
      case 8:
        guard !served.isEmpty else { continue }
        let done = served.remove(at: Int.random(in: 0..<served.count, using: &random))
        try kernel.ring.complete(done.identifier, CommandResult(done.status))
        answered += 1
      default:
        answered -= kernel.takeAnswers().count { $0 != nil }
      }
    }
    for done in served { try kernel.ring.complete(done.identifier, .good) }
    #expect(kernel.takeAnswers().allSatisfy { $0 != nil })
    while case .command = try kernel.ring.next(into: slot) {
      try kernel.ring.complete(slot.identifier, .good)
    }
    #expect(kernel.takeAnswers().allSatisfy { $0 != nil })
    #expect(kernel.outstanding.isEmpty)
  }
}
