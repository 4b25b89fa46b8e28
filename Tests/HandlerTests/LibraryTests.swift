import BlockCore
import BlockSim
import Foundation
import Handlers
import SCSI
import Synchronization
import TestKit
import Testing

/// Handlers with the interface of ashlar_handler.h.
@Suite struct LibraryTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func load(_ definitions: String...) throws -> ForeignHandler {
    let path = scratch("ashlar_handler_probe.so")
    try Plugins.compile("probe.c", definitions, to: path)
    return try HandlerLibrary.load(path)
  }

  @Test func configurationsAreTakenApart() throws {
    let configuration = try HandlerConfiguration("qcow//a/b;c")
    #expect(configuration.subtype == "qcow" && configuration.rest == "/a/b;c")
    // To Swift's eyes the slash and what follows are one character.
    #expect(try HandlerConfiguration("qcow/\u{308}x").rest == "\u{308}x")
    for bad in ["", "qcow", "/x", "q c/x", "é/x", String(repeating: "a", count: 64) + "/x"] {
      #expect(throws: BlockError.self, "\(bad)") { try HandlerConfiguration(bad) }
    }
    let long = "a/" + String(repeating: "x", count: Limits.backstoreConfigBytes)
    #expect(throws: BlockError.self) { try HandlerConfiguration(long) }
  }

  @Test func namesOfFilesTellTheKind() {
    #expect(HandlerLibrary.kind(ofFile: "ashlar_handler_x.so") == .library)
    #expect(HandlerLibrary.kind(ofFile: "ashlar_handler_x") == .program)
    #expect(HandlerLibrary.kind(ofFile: "handler_qcow.so") == .tcmuRunner)
    #expect(HandlerLibrary.kind(ofFile: "handler_qcow.so.1") == nil)
    #expect(HandlerLibrary.kind(ofFile: "libx.so") == nil)
  }

  @Test(arguments: [
    ("VERSION=2", BlockError.Kind.unsupported, "version 2"), ("VERSION=0", .unsupported, "version 0"),
    ("SIZE=120", .corrupt, "120 bytes"), ("SUBTYPE=\"a/b\"", .invalidArgument, "`a/b`"),
    ("SUBTYPE=\"\"", .invalidArgument, "``"), ("SUBTYPE=0", .corrupt, "no subtype"),
  ])
  func structuresOfOthersAreRefused(_ definition: String, _ kind: BlockError.Kind, _ word: String) throws {
    let error = #expect(throws: BlockError.self) { try load(definition) }
    #expect(error?.kind == kind && error?.description.contains(word) == true, "\(String(describing: error))")
  }

  @Test func aLargerStructureIsOfALaterRelease() async throws {
    #expect(try load("SIZE=sizeof(struct ashlar_handler)+8").subtype == "probe")
  }

  @Test func whatIsNoHandlerIsRefused() throws {
    let path = scratch("ashlar_handler_text.so")
    try scratch.write("ashlar_handler_text.so", text: "no library")
    #expect(throws: BlockError.self) { try HandlerLibrary.load(path) }
    #expect(throws: BlockError.self) { try HandlerLibrary.load(scratch("ashlar_handler_none.so")) }
    try Plugins.compile("handler_later.c", to: scratch("ashlar_handler_other.so"))
    // It needs the functions of tcmu-runner, which a handler of our own does not get.
    #expect(throws: BlockError.self) { try HandlerLibrary.load(scratch("ashlar_handler_other.so")) }
  }

  @Test func failuresHaveTheHandlersReason() async throws {
    let handler = try load()
    let open = await #expect(throws: BlockError.self) { try await handler.open(HandlerOpening("missing")) }
    #expect(open?.kind == .notFound && open?.cause == "there is no such thing")
    let check = await #expect(throws: BlockError.self) { try await handler.check("bad") }
    #expect(check?.kind == .invalidArgument && check?.cause == "it is bad")
    try await handler.check("good")
    let odd = await #expect(throws: BlockError.self) {
      try await handler.open(HandlerOpening("x", byteCount: 1000))
    }
    #expect(odd?.kind == .invalidArgument)
  }

  @Test func aHandlerIsToldAndTells() async throws {
    let messages = Mutex<[String]>([])
    var opening = HandlerOpening("x", byteCount: 1 << 20)
    opening.serial = { "0123456789" }
    opening.log = { message in messages.withLock { $0.append(message.text) } }
    let opened = try await load().open(opening)
    #expect(opened.volume.geometry.byteCount == 1 << 20 && opened.volume.geometry.canDiscard)
    #expect(opened.traits.hasWriteCache)
    await opened.close()
    #expect(messages.withLock { $0 } == ["opened 0123456 of 10 bytes", "closed"])
  }

  /// Random requests, many at a time, against a model; the handler ends them at once or later.
  @Test(arguments: [
    ["CALLS=1"], ["CALLS=1", "ASYNC"], ["CALLS=0", "ASYNC"], ["CALLS=3"], ["CALLS=1", "BARE"],
  ])
  func contentIsWhatWasWritten(_ definitions: [String]) async throws {
    let path = scratch("ashlar_handler_probe.so")
    try Plugins.compile("probe.c", definitions, to: path)
    let opened = try await HandlerLibrary.load(path).open(HandlerOpening("x", byteCount: 4 << 20))
    let seed = Seed.of("contentIsWhatWasWritten \(definitions)")
    try await withThrowingTaskGroup(of: Void.self) { group in
      // Each task has a part of its own, so that the order among them does not matter.
      for part in 0..<8 {
        group.addTask {
          try await Self.exercise(
            opened.volume, part: part, seed: seed, discards: !definitions.contains("BARE"))
        }
      }
      try await group.waitForAll()
    }
    let counts = try await Commands(opened.interceptor).data([0xC0], count: 56).words
    #expect(counts[5] == 0, "calls ran at the same time")
    #expect(counts[6] <= 64 << 10)
    #expect((counts[4] > 0) == !definitions.contains("BARE"))
    await opened.close()
  }

  private static func exercise(_ volume: any Volume, part: Int, seed: UInt64, discards: Bool) async throws {
    let workspace = Workspace()
    var random = SplitMix64(seed: seed &+ UInt64(part))
    let size = 512 << 10
    let base = UInt64(part * size)
    var model = [UInt8](repeating: 0, count: size)
    for _ in 0..<200 {
      let count = Int.random(in: 1...256, using: &random) * 512
      let start = Int.random(in: 0...(size - count) / 512, using: &random) * 512
      let request = BlockRequest(.write, at: base + UInt64(start), byteCount: UInt64(count))
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<4:
        let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        try await volume.change(request, bytes, using: workspace)
        model.replaceSubrange(start..<start + count, with: bytes)
      case 4: try await volume.change(.flush, using: workspace)
      case 5 where discards, 6:
        var zero = request
        zero.operation = discards ? .discard : .writeZeroes
        if Bool.random(using: &random) { zero.operation = .writeZeroes }
        try await volume.change(zero, using: workspace)
        model.replaceSubrange(start..<start + count, with: repeatElement(0, count: count))
      default:
        let read = try await volume.read(at: request.offset, byteCount: count, using: workspace)
        try #require(read == Array(model[start..<start + count]))
      }
    }
  }

  @Test func aDurableWriteIsFlushed() async throws {
    let opened = try await load().open(HandlerOpening("x"))
    let workspace = Workspace()
    let block = [UInt8](repeating: 7, count: 512)
    var request = BlockRequest(.write, at: 512, byteCount: 512)
    try await opened.volume.change(request, block, using: workspace)
    request.flags = .forceUnitAccess
    try await opened.volume.change(request, block, using: workspace)
    let counts = try await Commands(opened.interceptor).data([0xC0], count: 56).words
    #expect(counts[1] == 2 && counts[2] == 1)
    await opened.close()
  }

  @Test func commandsAreTheHandlersFirst() async throws {
    let opened = try await load().open(HandlerOpening("x"))
    let commands = try Commands(opened.interceptor)
    #expect(try await commands.send([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]).result == nil)
    // More room than data: the rest is not valid.
    #expect(try await commands.data([0xC0], count: 4096).count == 56)
    let failed = try #require(try await commands.send([0xC1]).result)
    #expect(
      failed
        == CommandResult(
          .checkCondition,
          sense: SenseData(0xB, 0x44, 0x71, information: 0x0102_0304, specific: 0x801234)))
    let full = try await commands.send([0xC2]).result
    #expect(full?.sense == SenseData(0x7, 0x27, 0x07))
    await opened.close()
  }

  @Test func aDiskGrows() async throws {
    let opened = try await load().open(HandlerOpening("x", byteCount: 1 << 20))
    let workspace = Workspace()
    let resize = try #require(opened.resize)
    try await resize(2 << 20)
    #expect(opened.volume.geometry.byteCount == 2 << 20)
    try await opened.volume.change(
      BlockRequest(.write, at: (2 << 20) - 512, byteCount: 512), [UInt8](repeating: 1, count: 512),
      using: workspace)
    await #expect(throws: BlockError.self) { try await resize((2 << 20) + 1) }
    #expect(opened.setWriteCache == nil)
    await opened.close()
  }
}
