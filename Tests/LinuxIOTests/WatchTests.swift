import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

@Suite struct WatchTests {
  /// Lowers a signal; whether it was raised.
  ///
  /// What cannot be copied cannot stand in an expectation.
  private func wasRaised(_ signal: borrowing WakeSignal) -> Bool { signal.lower() }

  @Test func aSignalStaysUntilItIsLowered() throws {
    let signal = try WakeSignal()
    #expect(wasRaised(signal) == false)
    signal.raise()
    signal.raise()
    // It returns at once, or the test would not end.
    try Readiness.wait(for: [(signal.raw, Int16(POLLIN))], atMost: nil)
    #expect(wasRaised(signal) == true)
    #expect(wasRaised(signal) == false)
  }

  @Test func aWaitHasAnEnd() throws {
    let signal = try WakeSignal()
    try Readiness.wait(for: [(signal.raw, Int16(POLLIN))], atMost: .milliseconds(1))
    try Readiness.wait(for: [(signal.raw, Int16(POLLIN))], atMost: .milliseconds(-5))
    #expect(wasRaised(signal) == false)
  }

  @Test func changesOfADirectoryAreSeen() throws {
    let scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: scratch("d"), withIntermediateDirectories: true)
    let watch = try DirectoryWatch(scratch("d"))
    let none = try watch.changes()
    #expect(none == .init())
    try scratch.write("d/one", text: "1")
    rename(scratch("d/one"), scratch("d/two"))
    let long = String(repeating: "x", count: 255)
    try scratch.write("d/\(long)", text: "2")
    unlink(scratch("d/two"))
    let changes = try watch.changes()
    #expect(changes.names.isSuperset(of: ["one", "two", long]) && !changes.isIncomplete && !changes.hasEnded)
    try FileManager.default.removeItem(atPath: scratch("d"))
    let end = try watch.changes()
    #expect(end.hasEnded && end.names == [long])
  }

  /// More than a buffer's worth of events is read to its end.
  @Test func manyChangesAreSeen() throws {
    let scratch = try Scratch()
    let watch = try DirectoryWatch(scratch.path)
    let names = Set((0..<1000).map { "a-name-of-some-length-\($0)" })
    for name in names { try scratch.write(name, text: "") }
    let changes = try watch.changes()
    #expect(changes.names.isSuperset(of: names))
  }

  @Test func whatCannotBeWatchedIsAnError() throws {
    let scratch = try Scratch()
    let absent = #expect(throws: BlockError.self) { _ = try DirectoryWatch(scratch("none")) }
    #expect(absent?.kind == .notFound)
    let file = try scratch.write("file", text: "")
    #expect(throws: BlockError.self) { _ = try DirectoryWatch(file) }
  }

  @Test func filesAreWatchedOneByOne() throws {
    let scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: scratch("d"), withIntermediateDirectories: true)
    try scratch.write("f", text: "0")
    let watches = try FileWatches()
    let directory = try watches.add(scratch("d"), .created)
    let file = try watches.add(scratch("f"), .closed)
    let again = try watches.add(scratch("f"), .closed)
    #expect(again == file)
    try scratch.write("d/one", text: "1")
    _ = try Descriptor.open(scratch("f"), O_RDONLY)
    var events = try watches.events()
    #expect(events == [.happened(directory, "one"), .happened(file, "")])
    watches.remove(file)
    _ = try Descriptor.open(scratch("f"), O_RDONLY)
    try FileManager.default.removeItem(atPath: scratch("d"))
    events = try watches.events()
    #expect(events == [.ended(file), .ended(directory)])
    do {
      _ = try watches.add(scratch("nothing"), .created)
      Issue.record("what is not there is watched")
    } catch {
      #expect(error.kind == .notFound)
    }
  }
}
