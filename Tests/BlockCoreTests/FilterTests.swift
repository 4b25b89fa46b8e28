import BlockCore
import BlockSim
import TestKit
import Testing

@Suite struct FilterTests {
  private let content = OpsScript.content("rand", 7, 64 << 10)

  /// Performs a request with data and returns the data.
  private func perform(
    _ request: BlockRequest, _ data: [UInt8] = [], on volume: any Volume
  ) async throws -> [UInt8] {
    var bytes =
      data.isEmpty && request.carriesData ? [UInt8](repeating: 0, count: Int(request.byteCount)) : data
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try await volume.perform(request, data: &raw, using: Workspace())
    return bytes
  }

  @Test(arguments: [false, true])
  func sliceMovesEveryRangeButTheFlush(waits: Bool) async throws {
    let disk = MemoryVolume(content, waits: waits)
    let slice = try SliceVolume(of: disk, 4096..<12288)
    #expect(slice.geometry.byteCount == 8192)
    let read = try await perform(.init(.read, at: 512, byteCount: 1024), on: slice)
    #expect(read == Array(content[4608..<5632]))
    _ = try await perform(
      .init(.write, at: 0, byteCount: 512), [UInt8](repeating: 9, count: 512), on: slice)
    #expect(
      disk.content[4095] == content[4095] && disk.content[4096] == 9 && disk.content[4608] == content[4608])
    _ = try await perform(.flush, on: slice)
    #expect(disk.log.last == .flush)
    await #expect(throws: BlockError.self) {
      try await self.perform(.init(.read, at: 7680, byteCount: 1024), on: slice)
    }
  }

  @Test func sliceRefusesRangesThatAreNone() {
    let disk = MemoryVolume(content)
    #expect(throws: BlockError.self) { try SliceVolume(of: disk, 100..<4096) }
    #expect(throws: BlockError.self) { try SliceVolume(of: disk, 4096..<4096) }
    #expect(throws: BlockError.self) { try SliceVolume(of: disk, 0..<(128 << 10)) }
  }

  @Test func readOnlyLetsReadsAndFlushesThrough() async throws {
    let disk = MemoryVolume(content)
    let filter = ReadOnlyVolume(disk)
    #expect(try await perform(.init(.read, at: 0, byteCount: 512), on: filter) == Array(content[..<512]))
    _ = try await perform(.flush, on: filter)
    for operation in [BlockRequest.Operation.write, .discard, .writeZeroes] {
      let error = await #expect(throws: BlockError.self) {
        try await self.perform(.init(operation, at: 0, byteCount: 512), on: filter)
      }
      #expect(error?.kind == .readOnly)
    }
    #expect(disk.content == content)
  }

  @Test func faultsComeWhereTheRulesSay() async throws {
    let disk = MemoryVolume(content)
    let filter = FaultVolume(
      disk,
      rules: [
        .init(.number(2), as: .checksumMismatch, operations: [.read], range: 0..<4096),
        .init(.from(1), as: .noSpace, operations: [.write]),
      ], random: SeededRandom(seed: 1))
    let here = BlockRequest(.read, at: 0, byteCount: 512)
    _ = try await perform(here, on: filter)
    let error = await #expect(throws: BlockError.self) { try await self.perform(here, on: filter) }
    #expect(error?.kind == .checksumMismatch)
    _ = try await perform(here, on: filter)
    _ = try await perform(.init(.read, at: 4096, byteCount: 512), on: filter)
    let full = await #expect(throws: BlockError.self) {
      try await self.perform(.init(.write, at: 8192, byteCount: 512), on: filter)
    }
    #expect(full?.kind == .noSpace)
    #expect(filter.matchCounts == [3, 1])
  }

  @Test func faultsByChanceAreTheSameForTheSameSeed() async throws {
    func failures(_ seed: UInt64) async -> [Int] {
      let filter = FaultVolume(
        MemoryVolume(content), rules: [.init(.probability(0.3))], random: SeededRandom(seed: seed))
      var failures: [Int] = []
      for number in 0..<100 {
        if (try? await perform(.init(.read, at: 0, byteCount: 512), on: filter)) == nil {
          failures.append(number)
        }
      }
      return failures
    }
    let first = await failures(5)
    #expect(first == (await failures(5)))
    #expect((10..<60).contains(first.count))
    #expect(first != (await failures(6)))
  }

  @Test func delayWaitsByItsClock() async throws {
    let clock = SimulatedClock()
    let filter = DelayVolume(MemoryVolume(content), by: .seconds(3), clock: clock)
    let task = Task { try await perform(.init(.read, at: 0, byteCount: 512), on: filter) }
    while clock.sleeperCount == 0 { await Task.yield() }
    clock.advance(by: .seconds(2))
    #expect(clock.sleeperCount == 1)
    clock.advance(by: .seconds(1))
    #expect(try await task.value == Array(content[..<512]))
  }

  @Test func delayEndsWithItsTask() async throws {
    let clock = SimulatedClock()
    let filter = DelayVolume(MemoryVolume(content), by: .seconds(3), clock: clock)
    let task = Task { try await perform(.init(.read, at: 0, byteCount: 512), on: filter) }
    while clock.sleeperCount == 0 { await Task.yield() }
    task.cancel()
    let error = await #expect(throws: BlockError.self) { try await task.value }
    #expect(error?.kind == .cancelled)
  }

  @Test(arguments: [false, true])
  func traceNotesWhatWent(waits: Bool) async throws {
    let clock = SimulatedClock()
    let fault = FaultVolume(
      MemoryVolume(content, waits: waits), rules: [.init(.number(2))], random: SeededRandom(seed: 1))
    let trace = TraceVolume(fault, capacity: 2, clock: clock)
    let requests = (0..<3).map { BlockRequest(.read, at: $0 * 512, byteCount: 512) }
    for request in requests {
      // The second one fails, as it is meant to.
      _ = try? await perform(request, on: trace)
      clock.advance(by: .seconds(1))
    }
    #expect(trace.totalCount == 3)
    #expect(trace.records.map(\.request) == Array(requests[1...]))
    #expect(trace.records.map(\.failure) == [.ioError, nil])
    #expect(trace.records.map(\.waited) == [false, waits])
    #expect(trace.records.map(\.start) == [.seconds(1), .seconds(2)])
  }
}
