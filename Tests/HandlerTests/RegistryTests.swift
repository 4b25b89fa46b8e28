import BlockCore
import Foundation
import Glibc
import Handlers
import LinuxIO
import TestKit
import Testing

/// Finding handlers without loading them.
@Suite struct RegistryTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test func brokenHandlersHarmNobody() async throws {
    try Plugins.compile("probe.c", [], to: scratch("ashlar_handler_good.so"))
    try Plugins.compile("probe.c", ["CRASH_ON_LOAD"], to: scratch("ashlar_handler_crash.so"))
    try Plugins.compile("probe.c", ["VERSION=9", "SUBTYPE=\"new\""], to: scratch("ashlar_handler_new.so"))
    // The same subtype again, behind the first in the order of names.
    try Plugins.compile("probe.c", [], to: scratch("ashlar_handler_twice.so"))
    try scratch.write("ashlar_handler_text.so", text: "no library")
    try scratch.write("ashlar_handler_empty", text: "")
    #expect(mkdir(scratch("ashlar_handler_directory.so"), 0o700) == 0)
    try scratch.write("other.so", text: "not looked at")
    let registry = HandlerRegistry(directories: [scratch("none"), scratch.path], loader: Plugins.loader)
    let listing = await registry.list()
    #expect(listing.entries.keys.sorted() == ["probe"])
    #expect(listing.entries["probe"]?.path == scratch("ashlar_handler_good.so"))
    #expect(
      listing.entries["probe"]?.description
        == HandlerDescription(subtype: "probe", description: "A disk in memory.", kind: .library))
    let problems = Dictionary(uniqueKeysWithValues: listing.problems.map { ($0.object, $0) })
    #expect(problems.count == 6)
    #expect(problems[scratch("ashlar_handler_empty")]?.cause == "it is empty")
    #expect(problems[scratch("ashlar_handler_directory.so")]?.cause == "it is no regular file")
    #expect(problems[scratch("ashlar_handler_crash.so")]?.cause.contains("signal 6") == true)
    #expect(problems[scratch("ashlar_handler_new.so")]?.cause.contains("version 9") == true)
    #expect(problems[scratch("ashlar_handler_text.so")]?.kind == .unavailable)
    #expect(problems[scratch("ashlar_handler_twice.so")]?.kind == .conflict)
  }

  @Test func thoseThatHangHoldUpNobody() async throws {
    for name in ["a", "b", "c"] {
      try Plugins.compile("probe.c", ["HANG_ON_LOAD"], to: scratch("ashlar_handler_\(name).so"))
    }
    try Plugins.compile("probe.c", ["TALK_ON_LOAD"], to: scratch("ashlar_handler_talks.so"))
    #expect(mkfifo(scratch("ashlar_handler_fifo.so"), 0o600) == 0)
    let listing = await HandlerRegistry(
      directories: [scratch.path], loader: Plugins.loader, answerDeadline: .seconds(10)
    ).list()
    // What it prints is no part of its answer.
    #expect(listing.entries.keys.sorted() == ["probe"])
    let problems = Dictionary(uniqueKeysWithValues: listing.problems.map { ($0.object, $0.kind) })
    #expect(problems.count == 4)
    for name in ["a", "b", "c"] { #expect(problems[scratch("ashlar_handler_\(name).so")] == .timedOut) }
    #expect(problems[scratch("ashlar_handler_fifo.so")] == .invalidArgument)
  }

  @Test func configurationsAreChecked() throws {
    try Plugins.compile("probe.c", [], to: scratch("ashlar_handler_good.so"))
    let registry = HandlerRegistry(directories: [], loader: Plugins.loader)
    let entry = try registry.describe(scratch("ashlar_handler_good.so"))
    #expect(try registry.check("fine", with: entry) == HandlerVerdict(isValid: true, message: "success"))
    let bad = try registry.check("bad", with: entry)
    #expect(!bad.isValid && bad.message.contains("it is bad"))
    #expect(entry.serverArguments(listener: 3) == ["--plugin", entry.path, "--listener", "3"])
  }

  @Test func aProgramThatDoesNotAnswerIsKilled() throws {
    let error = #expect(throws: BlockError.self) {
      try ChildProcess.ask("/bin/sleep", ["100"], limit: 10, deadline: .milliseconds(100))
    }
    #expect(error?.kind == .timedOut)
    let long = #expect(throws: BlockError.self) {
      try ChildProcess.ask("/usr/bin/yes", [], limit: 1000, deadline: .seconds(100))
    }
    #expect(long?.kind == .exhausted)
    let answer = try ChildProcess.ask("/bin/echo", ["yes"], limit: 1000, deadline: .seconds(100))
    #expect(answer.output == Array("yes\n".utf8))
  }

  @Test func debiansHandlersDescribeThemselves() async throws {
    let directory = try Plugins.debian("qcow").split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
    let listing = await HandlerRegistry(directories: [directory], loader: Plugins.loader).list()
    for subtype in ["fbo", "qcow", "zbc"] {
      let entry = try #require(listing.entries[subtype], "\(listing.problems)")
      #expect(entry.description.kind == .tcmuRunner && !entry.description.description.isEmpty)
    }
  }
}
