import Attachments
import BlockCore
import LinuxIO
import TestKit
import Testing

import Engine

/// A failed flush is forgotten when the data server has forgotten it, and not before.
@Suite(.serialized) struct ResetTests {
  private let id: AttachmentID
  private let instance: TestInstance

  init() throws {
    id = try AttachmentID("x")
    instance = try TestInstance()
  }

  private static func status(_ hello: String) -> String {
    #"{"status":{"_0":{"exportName":"ashlar-x-abc","device":"/dev/loop99999","size":4096\#(hello)}}}"#
  }

  private static let counters = #"{"counters":{"_0":{"reads":1,"writes":0,"readBytes":0,"flushes":0}}}"#

  private func writeRow(_ server: ScriptedServer) throws {
    var row = try instance.row("x", server.process)
    row.flushFailure = #"{"file":"/images/x","happenedAt":3,"cause":"Input/output error"}"#
    try instance.write(row)
  }

  private func isKnown() throws -> Bool { try instance.rows().first?.flushFailure != nil }

  @Test func aServerOfTheFirstReleaseIsNotAsked() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status("")
    } answers: { text, _ in
      // It ends the connection at what it does not know.
      text.contains("report") ? [Self.counters] : nil
    }
    defer { server.end() }
    try writeRow(server)
    let manager = try await instance.manager()
    let error = await #expect(throws: BlockError.self) { try await manager.resetFlushFailure(id) }
    #expect(
      error?.kind == .unsupported && error?.remedy?.contains("Detach it") == true,
      "\(error?.description ?? "-")")
    let info = try await manager.inspect(id)
    #expect(info.requests?.reads == 1 && info.server != nil, "\(info)")
    #expect(server.messages.allSatisfy { !$0.contains("change") }, "\(server.messages)")
    #expect(try isKnown())
  }

  @Test func aLostConnectionForgetsNothing() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status(#","hello":{"version":2}"#)
    } answers: { text, _ in
      text.contains("change") ? nil : []
    }
    defer { server.end() }
    try writeRow(server)
    let manager = try await instance.manager()
    let error = await #expect(throws: BlockError.self) { try await manager.resetFlushFailure(id) }
    #expect(error?.step == "reset the flush error of", "\(error?.description ?? "-")")
    #expect(try isKnown())
  }

  @Test func aLateAnswerCounts() async throws {
    let server = try ScriptedServer(at: instance.socket) { _ in
      Self.status(#","hello":{"version":2}"#)
    } answers: { text, _ in
      guard text.contains("report"), let request = ScriptedServer.request(text) else { return [] }
      return [
        // What was asked before the counters, and was too late.
        #"{"changed":{"request":\#(request - 1)}}"#,
        #"{"counters":{"_0":{"reads":1,"writes":0,"readBytes":0,"flushes":0},"request":\#(request)}}"#,
      ]
    }
    defer { server.end() }
    try writeRow(server)
    let manager = try await instance.manager()
    let error = await #expect(throws: BlockError.self) { try await manager.resetFlushFailure(id) }
    #expect(error?.kind == .timedOut, "\(error?.description ?? "-")")
    #expect(try isKnown())
    let info = try await manager.inspect(id)
    #expect(info.requests?.reads == 1)
    // The answer came with that to this question.
    let next = try await manager.inspect(id)
    #expect(next.problem == nil, "\(next.problem ?? "-")")
    #expect(try !isKnown())
  }
}
