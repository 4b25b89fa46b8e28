import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

import Engine

/// What manager and data server say to each other, if one of them is of another release, late, or hard to understand.
@Suite(.serialized) struct ServerTalkTests {
  private static let status =
    #"{"status":{"_0":{"exportName":"ashlar-a-abc","device":"/dev/loop99999","size":4096}}}"#
  private let id: AttachmentID
  private let instance: TestInstance

  init() throws {
    id = try AttachmentID("a")
    instance = try TestInstance()
  }

  private func waitUntil(_ condition: () async throws -> Bool) async throws -> Bool {
    let clock = LinuxClock()
    let end = clock.now + .seconds(10)
    while clock.now < end {
      if try await condition() { return true }
      try await clock.sleep(for: .milliseconds(10))
    }
    return false
  }

  @Test func whatIsNotKnownIsIgnoredAndTheDeviceGoesOn() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      #"{"status":{"_0":{"exportName":"ashlar-a-abc","device":"/dev/loop99999","mood":1,"hello":{"version":9}}},"more":1}"#
    } answers: { text, _ in
      guard text.contains("report"), let request = ScriptedServer.request(text) else { return [] }
      return [
        #"{"news":{"_0":{"weather":"rain"}}}"#, #"{"released2":7}"#,
        #"{"counters":{"_0":{"reads":7,"latency":[1,2]},"request":\#(request)}}"#,
      ]
    }
    defer { server.end() }
    try instance.write(instance.row("a", server.process))
    let manager = try await instance.manager()
    for _ in 1...2 {
      let info = try await manager.inspect(id)
      #expect(info.state == .attached && info.problem == nil && info.requests?.reads == 7, "\(info)")
    }
    // Whoever has told his version is told ours; nobody else.
    #expect(server.messages.first?.contains(#""hello":{"_0":{"version":2}}"#) == true, "\(server.messages)")
    #expect(server.process.isAlive)
  }

  /// A flush that failed while nobody listened, and a reset that cannot be told to the server.
  @Test func aFlushRecordIsReadAndAResetIsNotPretended() async throws {
    let process = try ChildProcess.start(.init(program: "/bin/sleep", arguments: ["600"], descriptors: [:]))
    defer {
      kill(process, SIGKILL)
      ChildProcess.collect(process)
    }
    let row = try instance.row("a", ProcessIdentity(pid: process))
    try instance.write(row)
    // Nobody listens there.
    #expect(FileManager.default.createFile(atPath: instance.socket, contents: nil))
    let record = instance.directories.flushRecord(row.exportName)
    try record.write(FlushFailure(file: "/images/a", happenedAt: 3, cause: "Input/output error"))
    let manager = try await instance.manager(report: .milliseconds(100))
    #expect(try await manager.inspect(id).problem?.contains("a flush of /images/a failed") == true)
    #expect(try instance.rows().first?.decodedFlushFailure()?.happenedAt == 3)
    let refused = await #expect(throws: BlockError.self) { try await manager.resetFlushFailure(id) }
    #expect(refused?.kind == .unavailable && refused?.step == "reset")
    #expect(try record.read() != nil)
  }

  /// A server of a release that says nothing of what it serves is held to what it has open.
  @Test func whatAnEarlierReleaseServesIsPinned() async throws {
    let path = try instance.scratch.write("a.img", [UInt8](repeating: 1, count: 4096))
    let server = try open(path)
    defer { server.end() }
    var row = try instance.row("a", server.process)
    let spec = AttachmentSpec(
      scheme: "raw", path: path, configuration: nil, transport: .auto, isReadOnly: true)
    row.spec = String(decoding: try encodeMessage(spec), as: UTF8.self)
    try instance.write(row)
    #expect(rename(try instance.scratch.write("b.img", [UInt8](repeating: 2, count: 4096)), path) == 0)
    let manager = try await instance.manager(report: .milliseconds(300))
    let refused = await #expect(throws: BlockError.self) { try await manager.attach(id, spec) }
    #expect(refused?.kind == .conflict && refused?.cause.contains("\(path) is not the file") == true)
    #expect(try instance.rows().first?.decodedPin()?.version == ImagePin.observedVersion)
  }

  /// A server of the first release that has a file open.
  private func open(_ path: String) throws -> ScriptedServer {
    let file = try Descriptor.open(path, O_RDONLY)
    return try ScriptedServer(at: instance.socket, open: [file.raw]) { _ in
      Self.status
    } answers: { text, _ in
      text.contains("report")
        ? [#"{"counters":{"_0":{"reads":1,"writes":0,"readBytes":0,"flushes":0}}}"#] : nil
    }
  }

  /// A server of the first release gets no message that it does not know: it would end the connection.
  @Test func aServerOfTheFirstReleaseIsToldNothingNew() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status
    } answers: { text, _ in
      text.contains("report")
        ? [#"{"counters":{"_0":{"reads":1,"writes":0,"readBytes":0,"flushes":0}}}"#] : nil
    }
    defer { server.end() }
    try instance.write(instance.row("a", server.process))
    let manager = try await instance.manager()
    let info = try await manager.inspect(id)
    #expect(info.state == .attached && info.requests?.reads == 1)
    #expect(server.messages.allSatisfy { $0.hasPrefix(#"{"report":{"#) }, "\(server.messages)")
  }

  @Test func aServerThatCannotBeUnderstoodIsNotKilled() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      #"{"status":{"_0":{"size":"a lot"}}}"#
    } answers: { _, _ in
      ["what?"]
    }
    defer { server.end() }
    try instance.write(instance.row("a", server.process))
    let manager = try await instance.manager(report: .milliseconds(300))
    let isSaid = try await waitUntil {
      try await manager.inspect(id).problem?.contains("understand") == true
    }
    #expect(isSaid)
    try await LinuxClock().sleep(for: TestInstance.deadlines.kill * 3)
    #expect(server.process.isAlive)
    #expect(try await manager.inspect(id).state == .attached)
    #expect(try instance.rows().map(\.state) == ["attached"])
  }

  /// Only its process's end is the server's end.
  @Test func aConnectionThatEndsIsMadeAnew() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status
    } answers: { _, connection in
      connection < 2 ? nil : [#"{"counters":{"_0":{"reads":3}}}"#]
    }
    defer { server.end() }
    try instance.write(instance.row("a", server.process))
    let manager = try await instance.manager()
    #expect(try await manager.inspect(id).requests == nil)
    let isBack = try await waitUntil { try await manager.inspect(id).requests?.reads == 3 }
    let info = try await manager.inspect(id)
    #expect(isBack && info.state == .attached && info.problem == nil, "\(info)")
    #expect(server.process.isAlive)
    // And its end is.
    server.end()
    let isSeen = try await waitUntil { try await manager.inspect(id).state == .failed }
    #expect(isSeen)
  }

  /// The answer to a request that was given up is not that to the next one, with and without numbers.
  @Test(arguments: [true, false])
  func aLateAnswerIsNotTheNextOnes(hasNumbers: Bool) async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status
    } answers: { text, _ in
      guard let request = ScriptedServer.request(text), request > 1 else { return [] }
      func number(_ number: UInt64) -> String { hasNumbers ? #","request":\#(number)"# : "" }
      if text.contains("report") {
        return (request - 1...request).map { #"{"counters":{"_0":{"reads":\#($0)}\#(number($0))}}"# }
      }
      return [
        #"{"changed":{\#(number(request - 1).dropFirst())}}"#,
        #"{"changed":{"_0":{"kind":"noSpace","cause":"full"}\#(number(request))}}"#,
      ]
    }
    defer { server.end() }
    try instance.write(instance.row("a", server.process))
    let manager = try await instance.manager(report: .seconds(1))
    #expect(try await manager.inspect(id).requests == nil)
    #expect(try await manager.inspect(id).requests?.reads == 2)

    let attachment = try #require(await manager.attachments[id])
    // A request that is answered by the next one's message, and one whose answer that is.
    await attachment.skipRequest(to: 0)
    let first = await attachment.changeOutcome()
    #expect(first?.kind == .timedOut, "\(String(describing: first))")
    let second = await attachment.changeOutcome()
    #expect(second?.kind == .noSpace, "\(String(describing: second))")
  }

  /// One that gives no answers is not asked without end.
  @Test func requestsWithoutAnswersAreBounded() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status
    } answers: { _, _ in
      []
    }
    defer { server.end() }
    try instance.write(instance.row("a", server.process))
    let manager = try await instance.manager(report: .seconds(1))
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<3 * Limits.pendingServerRequests {
        group.addTask { _ = try? await manager.inspect(id) }
      }
    }
    #expect(server.messages.count == Limits.pendingServerRequests)
  }
}

extension Engine.Attachment {
  /// Goes on to count requests from a number.
  func skipRequest(to number: UInt64) { lastRequest = number }

  /// How a change fails; `nil` if it does not.
  func changeOutcome() async -> BlockError? {
    do throws(BlockError) {
      try await change(.size(4096))
      return nil
    } catch {
      return error
    }
  }
}

/// Who is there and in no journal, or in one that is not understood.
@Suite(.serialized) struct UnknownTests {
  private let id: AttachmentID
  private let instance: TestInstance

  init() throws {
    id = try AttachmentID("a")
    instance = try TestInstance()
  }

  private static func hello(_ process: ProcessIdentity) -> String {
    """
    {"status":{"_0":{"exportName":"ashlar-a-abc","device":"/dev/loop99999","size":4096,"hello":{"version":2,
    "pid":\(process.pid),"startTime":\(process.startTime),"id":"a","isCommitted":true,"createdAt":7,
    "spec":{"path":"/images/a","scheme":"raw","transport":"auto","isReadOnly":true}}}}}
    """
  }

  private static let counters: @Sendable (String, Int) -> [String]? = { text, _ in
    text.contains("report") ? [#"{"counters":{"_0":{"reads":3}}}"#] : []
  }

  private static let first =
    #"{"status":{"_0":{"exportName":"ashlar-a-abc","device":"/dev/loop99999","size":4096}}}"#

  @Test(arguments: [true, false])
  func aServerThatNoRowNamesIsListedAndTakenOver(saysHello: Bool) async throws {
    let first: @Sendable (ProcessIdentity) -> String = { saysHello ? Self.hello($0) : Self.first }
    let server = try ScriptedServer(at: instance.socket, first: first, answers: Self.counters)
    defer { server.end() }
    let manager = try await instance.manager()
    let found = try await manager.inspect(id)
    #expect(
      found.state == .unknown && found.device == "/dev/loop99999" && found.requests?.reads == 3, "\(found)")
    #expect(found.problem?.contains("ashlar daemon recover") == true)
    #expect(found.image == (saysHello ? "raw:/images/a" : "(unknown)"))
    let refused = await #expect(throws: BlockError.self) { try await manager.detach(id, force: false) }
    #expect(refused?.kind == .conflict && refused?.remedy?.contains("--force") == true)
    let spec = AttachmentSpec(
      scheme: "raw", path: "/images/a", configuration: nil, transport: .auto, isReadOnly: true)
    let other = await #expect(throws: BlockError.self) { try await manager.attach(id, spec) }
    #expect(other?.kind == .conflict)
    #expect(try instance.rows().isEmpty && server.process.isAlive)

    let reply = try await manager.recoverUnlisted()
    #expect(reply.attachments.map(\.state) == [.attached])
    let row = try #require(try instance.rows().first)
    #expect(row.id == "a" && row.state == "attached" && row.exportName == "ashlar-a-abc")
    if saysHello { #expect(row.serverPid == server.process.pid && row.createdAt == 7) }
    #expect(try await manager.inspect(id).problem == nil)
    #expect(try await manager.recoverUnlisted().attachments.isEmpty)
  }

  @Test func aServerThatNoRowNamesIsDetachedByForce() async throws {
    let server = try ScriptedServer(at: instance.socket, first: Self.hello) { text, _ in
      text.contains("detach") ? [#"{"released":{}}"#, #"{"detached":{}}"#] : []
    }
    defer { server.end() }
    let manager = try await instance.manager()
    let detach = Task { try await manager.detach(id, force: true) }
    while !server.messages.contains(where: { $0.contains("detach") }) {
      try await LinuxClock().sleep(for: .milliseconds(5))
    }
    server.end()
    #expect(try await detach.value.gone)
    #expect(await manager.list().isEmpty)
    #expect(try instance.rows().isEmpty && SmallFile.entries(instance.directories.servers).isEmpty)
  }

  /// A socket whose server is gone, and of which the kernel has nothing, is of nobody.
  @Test func aSocketOfNobodyIsRemoved() async throws {
    _ = try MessageSocket.listen(at: instance.socket)
    let manager = try await instance.manager()
    #expect(await manager.list().isEmpty)
    #expect(SmallFile.entries(instance.directories.servers).isEmpty)
  }

  /// What another release has written down is neither ended, aborted nor forgotten.
  @Test(arguments: ["state", "transport", "spec"])
  func aRowThatIsNotUnderstoodIsLeftAlone(what: String) async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.first
    } answers: { _, _ in
      []
    }
    defer { server.end() }
    var row = try instance.row("a", server.process, state: what == "state" ? "migrating" : "attached")
    if what == "transport" { row.spec = row.spec.replacing("\"auto\"", with: "\"ublk\"") }
    if what == "spec" { row.spec = "{" }
    try instance.write(row)
    let manager = try await instance.manager()
    let info = try await manager.inspect(id)
    #expect(info.state == .unknown && info.problem?.contains("--force") == true, "\(info)")
    let refused = await #expect(throws: BlockError.self) { try await manager.detach(id, force: false) }
    #expect(refused?.kind == .conflict)
    #expect(try await manager.recoverUnlisted().attachments.isEmpty)
    try await LinuxClock().sleep(for: TestInstance.deadlines.kill * 2)
    #expect(server.process.isAlive && server.messages.isEmpty, "\(server.messages)")
    let left = try #require(try instance.rows().first)
    #expect(left.state == row.state && left.spec == row.spec)
  }

  /// A row that does not say any more what is attached is written anew when its server says it, and somebody asks for that.
  @Test func aDamagedRowIsRecovered() async throws {
    let server = try ScriptedServer(at: instance.socket, first: Self.hello, answers: Self.counters)
    defer { server.end() }
    var row = try instance.row("a", server.process)
    row.spec = "{"
    try instance.write(row)
    let manager = try await instance.manager()
    #expect(try await manager.inspect(id).state == .unknown)
    #expect(try await manager.recoverUnlisted().attachments.map(\.state) == [.attached])
    let info = try await manager.inspect(id)
    #expect(
      info.state == .attached && info.image == "raw:/images/a" && info.server?.pid == server.process.pid)
    #expect(try instance.rows().map(\.state) == ["attached"])
  }

  /// What serves is believed, and not a journal that says that it is gone: whoever uses it keeps it.
  @Test(arguments: ["pid", "boot", "state", "status"])
  func aServerThatLivesIsTakenOverWhateverTheRowSays(wrong: String) async throws {
    let server = try ScriptedServer(at: instance.socket, first: Self.hello, answers: Self.counters)
    defer { server.end() }
    var row = try instance.row("a", server.process)
    switch wrong {
    case "pid": row.serverPid = 1
    case "boot": row.bootID = "another"
    case "state": row.state = "attaching"
    default: row.status = "{"
    }
    try instance.write(row)
    let manager = try await instance.manager()
    let info = try await manager.inspect(id)
    #expect(info.state == .attached && info.server?.pid == server.process.pid, "\(info)")
    let left = try #require(try instance.rows().first)
    #expect(
      left.state == "attached" && left.bootID == TestInstance.bootID && left.serverPid == server.process.pid)
    #expect(
      server.process.isAlive && !server.messages.contains { $0.contains("detach") }, "\(server.messages)")
  }
}
