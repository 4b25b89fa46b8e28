import BlockCore
import Foundation
import Handlers
import LinuxIO
import TestKit
import Testing

/// The handlers of Examples/, as scripts/test-examples has built them.
@Suite(.serialized) struct ExampleTests {
  private let scratch: Scratch
  private let registry = HandlerRegistry(directories: [], loader: Plugins.loader)

  init() throws {
    scratch = try Scratch()
    try scratch.write("one", [UInt8](repeating: 0, count: 8 << 20))
    try scratch.write("two", [UInt8](repeating: 0, count: 8 << 20))
  }

  private static func built(_ name: String) throws -> String {
    let folder = try #require(
      ProcessInfo.processInfo.environment["ASHLAR_EXAMPLES"],
      "the examples are built by scripts/test-examples")
    return "\(folder)/\(name)"
  }

  @Test func theOneInC() throws {
    let handler = try registry.describe(Self.built("ashlar_handler_plain.so"))
    #expect(handler.description.subtype == "plain" && handler.description.kind == .library)
    #expect(try registry.check(scratch("one"), with: handler).isValid)
    let verdict = try registry.check(scratch("none"), with: handler)
    #expect(!verdict.isValid && verdict.message.contains("No such file"))
    let server = try ServedHandler(handler, scratch("one"), scratch)
    #expect(server.status.size == 8 << 20)
    let content = try server.exercise(scratch)
    #expect(try server.detach().isClean)
    #expect(try scratch.bytes("one").prefix(content.count) == content[...])
  }

  @Test func theOneInSwift() throws {
    let handler = try registry.describe(Self.built("release/ashlar_handler_mirror"))
    #expect(handler.description.subtype == "mirror" && handler.description.kind == .program)
    let sides = "\(scratch("one")),\(scratch("two"))"
    #expect(try registry.check(sides, with: handler).isValid)
    #expect(try !registry.check("\(scratch("one")),\(scratch("none"))", with: handler).isValid)
    let error = #expect(throws: BlockError.self) { try ServedHandler(handler, scratch("one"), scratch) }
    #expect(error?.kind == .invalidArgument)
    let server = try ServedHandler(handler, sides, scratch)
    let content = try server.exercise(scratch)
    #expect(try server.detach().isClean)
    #expect(try scratch.bytes("one").prefix(content.count) == content[...])
    #expect(try scratch.bytes("two") == scratch.bytes("one"))
  }
}
