import BlockCore
import BlockSim
import SCSI
import TestKit
import Testing

/// Commands that nobody in his right mind sends: each is answered, and touches nothing that is not its own.
@Suite struct HostileTests {
  @Test(arguments: [false, true], [512, 4096])
  func randomCommandsAreAnswered(isReadOnly: Bool, blockSize: Int) async {
    var random = SplitMix64(seed: Seed.of("randomCommandsAreAnswered"))
    let disk = ScriptedDisk(blocks: 100, blockSize: blockSize, isReadOnly: isReadOnly, waitEvery: 3)
    let before = disk.content
    let initiator = Initiator(disk) { $0.background = { work in Task { await work() } } }
    let codes = (0...255).map(UInt8.init)
    let likely: [UInt8] = [
      0x03, 0x04, 0x12, 0x15, 0x1A, 0x28, 0x2A, 0x41, 0x42, 0x55, 0x5A, 0x83, 0x84, 0x89, 0x8A, 0x8B, 0x93,
      0x9E, 0xA3,
    ]
    for _ in 0..<6000 {
      var cdb = (0..<16).map { _ in random.byte() }
      cdb[0] = (Bool.random(using: &random) ? likely : codes).randomElement(using: &random) ?? 0
      // Small numbers get further than large ones.
      for index in cdb.indices.dropFirst() where Int.random(in: 0..<3, using: &random) > 0 {
        cdb[index] = Int.random(in: 0..<4, using: &random) > 0 ? 0 : cdb[index] & 0x1F
      }
      let count = [0, 1, 4, 8, 24, 76, 512, 700, 4096, 20000].randomElement(using: &random) ?? 0
      let data = (0..<count).map { _ in Int.random(in: 0..<2, using: &random) == 0 ? 0 : random.byte() }
      let cut = count == 0 ? 0 : Int.random(in: 0...count, using: &random)
      let answer = await initiator.send(cdb, data: data, pieces: count == 0 ? [] : [cut, count - cut])
      #expect((answer.status == .checkCondition) == (answer.result.sense != nil), "\(cdb)")
      #expect(answer.result.dataInCount.map { $0 < max(count, 1) } ?? true, "\(cdb)")
    }
    if isReadOnly { #expect(disk.content == before) }
  }

  @Test func shortBlocksAreReadAsZeros() async {
    let initiator = Initiator(ScriptedDisk())
    #expect(await initiator.send([]).result == .good)
    #expect(await initiator.send([0x88]).result == .good)
    #expect(await initiator.send([0x12]).result == .good)
    #expect(await initiator.send([UInt8](repeating: 0x7F, count: 200)).sense == 0x52000)
  }

  @Test func aCancelledCommandEnds() async {
    let initiator = Initiator(ScriptedDisk())
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return await initiator.send(CDB.extent(0x2F, 0, 8)).sense
    }
    #expect(await task.value == 0xB0006)
  }
}

extension SplitMix64 {
  /// A random byte.
  fileprivate mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next()) }
}
