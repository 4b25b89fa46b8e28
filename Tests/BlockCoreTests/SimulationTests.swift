import BlockCore
import BlockSim
import TestKit
import Testing

@Suite struct SimulationTests {
  @Test func powerCutKeepsWhatWasSynchronized() async throws {
    let seed = Seed.of("powerCutKeepsWhatWasSynchronized")
    var random = SplitMix64(seed: seed)
    let disk = SimulatedDisk(seed: seed)
    let file = disk.add("f", [UInt8](repeating: 0, count: 64 * 512))
    var durable = file.content
    for round in 1...100 {
      // Each sector holds one value throughout, so that a torn one would show.
      var possible = durable.map { Set([$0]) }
      for _ in 0..<4 {
        let sector = Int.random(in: 0..<64, using: &random)
        let data = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 512)
        try await file.write(at: UInt64(sector * 512), from: data.span.bytes, isDurable: false)
        for position in sector * 512..<(sector + 1) * 512 {
          possible[position].insert(UInt8(truncatingIfNeeded: round))
        }
      }
      if Bool.random(using: &random) {
        try await file.synchronize()
        durable = file.content
      }
      let flushed = durable
      disk.cutPower()
      for sector in 0..<64 {
        let content = file.content[sector * 512..<(sector + 1) * 512]
        #expect(Set(content).count == 1, "sector \(sector) is torn")
        #expect(
          possible[sector * 512].contains(content[sector * 512])
            || flushed[sector * 512] == content[sector * 512])
      }
      durable = file.content
    }
  }

  @Test func everyOperationCanFail() async throws {
    let disk = SimulatedDisk(seed: 1)
    disk.add("f", [UInt8](repeating: 1, count: 4096))
    for number in 1...3 as ClosedRange<UInt64> {
      disk.failOperation(number)
      await #expect(throws: BlockError.self) {
        let file = try await disk.open("f", for: .readWrite)
        _ = try await file.bytes(at: 0, byteCount: 512, using: Workspace())
        try await file.synchronize()
      }
    }
  }

  @Test func aFlushThatFailedOnceFailsForEver() async throws {
    let disk = SimulatedDisk(seed: 1)
    let file = disk.add("f", [UInt8](repeating: 1, count: 4096))
    disk.failOperation(1)
    await #expect(throws: BlockError.self) { try await file.synchronize() }
    await #expect(throws: BlockError.self) { try await file.synchronize() }
  }
}
