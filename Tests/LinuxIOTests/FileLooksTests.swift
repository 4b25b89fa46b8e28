import BlockCore
import Dispatch
import LinuxIO
import Testing

/// Looks at files whose disk does not answer.
@Suite struct FileLooksTests {
  private let looks = FileLooks(limit: 2, clock: LinuxClock())

  private func look(
    _ path: String, within deadline: Duration = .seconds(20),
    _ body: @escaping @Sendable () async throws(BlockError) -> Int
  ) async -> Result<Int, BlockError> {
    do throws(BlockError) {
      return .success(try await looks.look(at: path, step: "attach", object: "a", within: deadline, body))
    } catch {
      return .failure(error)
    }
  }

  private func expect(_ outcome: Result<Int, BlockError>, _ kind: BlockError.Kind, _ words: String) {
    guard case .failure(let error) = outcome else { return #expect(Bool(false), "\(outcome)") }
    #expect(error.kind == kind && error.description.contains(words), "\(error)")
  }

  @Test func whatDoesNotAnswerIsLookedAtOnce() async throws {
    let gate = DispatchSemaphore(value: 0)
    let stuck: @Sendable () async throws(BlockError) -> Int = {
      gate.wait()
      return 1
    }
    expect(await look("/dead", within: .milliseconds(20), stuck), .timedOut, "/dead does not answer")
    // It has a thread still, and no other one gets any.
    expect(await look("/dead") { 2 }, .timedOut, "an earlier look")
    #expect(try await look("/other") { 3 }.get() == 3)
    expect(await look("/dead too", within: .milliseconds(20), stuck), .timedOut, "/dead too does not answer")
    expect(await look("/other") { 4 }, .exhausted, "2 looks at files wait")
    gate.signal()
    gate.signal()
    for _ in 0..<500 where (try? await look("/dead") { 5 }.get()) == nil {
      try await Task.sleep(for: .milliseconds(10))
    }
    #expect(try await look("/dead") { 6 }.get() == 6)
    let failure = await look("/dead") { () throws(BlockError) in
      throw BlockError(errno: .noSuchFileOrDirectory, step: "open", object: "/dead")
    }
    expect(failure, .notFound, "open /dead")
  }
}
