import Attachments
import BlockCore
import Dispatch
import Engine
import Testing

/// Who else writes to what is attached may lie on a file system that never says so.
@Suite struct WriterCheckTests {
  @Test func anAttachThatWaitsForThatIsGivenUp() async throws {
    let instance = try TestInstance()
    let id = try AttachmentID("a")
    let gate = DispatchSemaphore(value: 0)
    defer { gate.signal() }
    let (asked, post) = AsyncStream<Void>.makeStream()
    let manager = try await instance.manager(checkWriter: { _ throws(BlockError) in
      post.yield()
      gate.wait()
    })
    let spec = AttachmentSpec(
      scheme: "raw", path: "/images/a", configuration: nil, transport: .auto, isReadOnly: false)
    let attach = Task { () async throws(BlockError) -> AttachmentInfo in try await manager.attach(id, spec) }
    for await _ in asked { break }
    #expect(try await manager.detach(id, force: true).gone)
    do {
      _ = try await attach.value
      Issue.record("it is attached")
    } catch {
      #expect((error as? BlockError)?.kind == .cancelled, "\(error)")
    }
    #expect(try instance.rows().isEmpty)
  }

  /// While something is asked, also if it only waits for a disk, a manager has something to do.
  @Test func aRequestUnderWayIsNoIdleness() async throws {
    let manager = try await TestInstance().manager()
    #expect(await manager.idleTime != nil)
    await manager.answering { #expect(await manager.idleTime == nil) }
    #expect(await manager.idleTime != nil)
  }
}
