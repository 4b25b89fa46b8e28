import BlockCore
import Handlers
import LinuxIO
import TestKit
import Testing

/// Disks of handlers that are served for real, each by a process of its own.
@Suite(.serialized) struct ServerTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func describe(_ path: String) throws -> HandlerRegistry.Entry {
    try HandlerRegistry(directories: [], loader: Plugins.loader).describe(path)
  }

  private func probe(_ definitions: String...) throws -> HandlerRegistry.Entry {
    let path = scratch("ashlar_handler_probe\(definitions.count).so")
    try Plugins.compile("probe.c", definitions, to: path)
    return try describe(path)
  }

  @Test func aDiskOfALibraryIsAttached() throws {
    let server = try ServedHandler(try probe(), "x", scratch)
    #expect(server.status.size == 4 << 20 && !server.status.readOnly)
    try server.exercise(scratch)
    #expect(try server.detach().isClean)
  }

  @Test func anOpeningThatFailsSaysWhy() throws {
    let handler = try probe()
    let error = #expect(throws: BlockError.self) { try ServedHandler(handler, "missing", scratch).detach() }
    #expect(error?.kind == .notFound && error?.cause == "there is no such thing")
  }

  /// One whose handler breaks takes its own disk with it, and no other.
  @Test func aCrashTakesOneDisk() throws {
    let good = try ServedHandler(try probe(), "x", scratch)
    let bad = try ServedHandler(try probe("CRASH_ON_READ"), "x", scratch)
    let device = bad.device
    let pid = bad.pid
    let read = try Plugins.run("/usr/bin/dd", ["if=\(device)", "of=/dev/null", "bs=64k", "iflag=direct"])
    #expect(read.status != 0, "\(read.output)")
    guard case .signalled = ChildProcess.waitForEnd(of: pid) else {
      return #expect(Bool(false), "the server lives")
    }
    try good.exercise(scratch)
    #expect(try good.detach().isClean)
  }
}
