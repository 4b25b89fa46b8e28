import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

@Suite struct HostTests {
  @Test func messagesCarryDescriptors() throws {
    let scratch = try Scratch()
    let path = scratch("s.sock")
    let listener = try MessageSocket.listen(at: path)
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode.map { $0 & 0o077 } == 0)
    let near = try MessageSocket.connect(to: path)
    let far = try MessageSocket.accept(from: listener)
    let file = try Descriptor.open(try scratch.write("f", text: "hello"), O_RDONLY)
    try near.send([1, 2, 3], descriptors: [file.raw])
    guard case .message(let bytes, let descriptors) = try far.receive() else {
      return #expect(Bool(false), "no message")
    }
    #expect(bytes == [1, 2, 3] && descriptors.count == 1)
    let received = Descriptor(owning: descriptors[0])
    var text = [UInt8](repeating: 0, count: 5)
    #expect(pread(received.raw, &text, 5, 0) == 5 && text == Array("hello".utf8))
    near.shutDown()
    guard case .end = try far.receive() else { return #expect(Bool(false), "no end") }
  }

  /// Whoever ends without having read all that was sent to him has said what he has said.
  @Test func lastWordsAreHeard() throws {
    let scratch = try Scratch()
    let listener = try MessageSocket.listen(at: scratch("s.sock"))
    let near = try MessageSocket.connect(to: scratch("s.sock"))
    do {
      let far = try MessageSocket.accept(from: listener)
      try near.send([1])
      try far.send([2])
      _ = consume far
    }
    guard case .message(let bytes, _) = try near.receive() else { return #expect(Bool(false), "no message") }
    #expect(bytes == [2])
    guard case .end = try near.receive() else { return #expect(Bool(false), "no end") }
  }

  /// A lock tells who holds it, and for how long.
  @Test func aLockTellsItsHolder() throws {
    let scratch = try Scratch()
    let path = scratch("lock")
    do {
      guard let lock = try FileLock.take(path) else { return #expect(Bool(false), "the lock is taken") }
      try lock.note("something longer")
      try lock.note("word")
      #expect(FileLock.holder(of: path)?.process.pid == getpid() && FileLock.holder(of: path)?.note == "word")
      // What cannot be copied a macro cannot take.
      let isThere = lock.isOf(path)
      try FileManager.default.moveItem(atPath: path, toPath: scratch("moved"))
      let isThereStill = lock.isOf(path)
      #expect(isThere && !isThereStill && FileLock.holder(of: path) == nil)
      try FileManager.default.moveItem(atPath: scratch("moved"), toPath: path)
    }
    // A child that another test is just starting has it for a moment, until its own program runs.
    for _ in 0..<500 where FileLock.holder(of: path) != nil { usleep(10_000) }
    #expect(FileLock.holder(of: path) == nil && FileLock.lastNote(of: path)?.note == "word")
  }

  @Test func longMessagesArriveWhole() throws {
    let scratch = try Scratch()
    let listener = try MessageSocket.listen(at: scratch("s.sock"))
    let near = try MessageSocket.connect(to: scratch("s.sock"))
    let far = try MessageSocket.accept(from: listener)
    let long = (0..<Limits.messageBytes).map { UInt8(truncatingIfNeeded: $0 / 7) }
    let file = try Descriptor.open(try scratch.write("f", text: "hello"), O_RDONLY)
    let raw = file.raw
    // The sender waits for the receiver when the socket's buffer is full.
    try WorkerThread.start(name: "sender") {
      do {
        try near.send(long, descriptors: [raw])
        try near.send([9])
      } catch {
        Issue.record(error)
      }
      near.shutDown()
    }
    guard case .message(let bytes, let descriptors) = try far.receive() else {
      return #expect(Bool(false), "no message")
    }
    #expect(bytes == long && descriptors.count == 1)
    for descriptor in descriptors { close(descriptor) }
    guard case .message(let next, _) = try far.receive() else { return #expect(Bool(false), "no message") }
    #expect(next == [9])
    guard case .end = try far.receive() else { return #expect(Bool(false), "no end") }
    #expect(throws: BlockError.self) { try near.send(long + [0]) }
  }

  @Test func socketsHaveShortPaths() {
    let path = "/tmp/" + String(repeating: "x", count: 120)
    let error = #expect(throws: BlockError.self) { _ = try MessageSocket.listen(at: path) }
    #expect(error?.remedy?.contains("ASHLAR_RUN") == true)
  }

  @Test func aLockHasOneHolder() throws {
    let scratch = try Scratch()
    func isFree() throws -> Bool { try FileLock.take(scratch("lock")) != nil }
    #expect(try isFree())
    guard let lock = try FileLock.take(scratch("lock")) else { return #expect(Bool(false), "not free") }
    #expect(try !isFree())
    withExtendedLifetime(lock) {}
  }

  @Test func aProcessIsToldFromItsSuccessor() throws {
    let pid = try ChildProcess.start(
      .init(program: "/bin/sleep", arguments: ["100"], descriptors: [:]))
    let process = try #require(ProcessIdentity(pid: pid))
    #expect(process.isAlive)
    process.kill()
    let end = ChildProcess.waitForEnd(of: pid)
    guard case .signalled(9) = end else { return #expect(Bool(false), "\(end)") }
    #expect(!process.isAlive)
    #expect(ProcessIdentity(pid: pid) == nil)
  }

  /// What is not there is told from what could not be read.
  @Test func readsThatFailAreKnownToWhoDecidesByThem() {
    let absent = FailedReads.during {
      (
        SmallFile.text("/proc/self/nothing"), SmallFile.entries("/proc/self/nothing"),
        SmallFile.link("/nothing")
      )
    }
    #expect(absent.found.0 == nil && absent.found.1.isEmpty && absent.failed == nil)
    // Nothing is mapped at address 0.
    let failed = FailedReads.during { SmallFile.text("/proc/self/mem") }
    #expect(failed.found == nil && failed.failed?.errno == .ioError)
    #expect(FailedReads.mayBe { SmallFile.text("/proc/self/mem") != nil })
    #expect(!FailedReads.mayBe { SmallFile.text("/proc/self/nothing") != nil })
  }

  @Test func aProgramThatIsNotThereIsAnError() {
    let error = #expect(throws: BlockError.self) {
      try ChildProcess.start(.init(program: "/no/such/program", arguments: [], descriptors: [:]))
    }
    #expect(error?.kind == .notFound)
  }

  @Test func theMountTableIsRead() {
    let mounts = Mount.all()
    #expect(mounts.contains { $0.mountPoint == "/" })
    #expect(mounts.contains { $0.mountPoint == "/proc" && $0.type == "proc" })
  }

  @Test func theClockGoesOn() async throws {
    let clock = LinuxClock()
    let start = clock.now
    try await clock.sleep(for: .milliseconds(20))
    #expect(clock.now - start >= .milliseconds(20))
    #expect(clock.sinceEpoch > .seconds(1_700_000_000))
  }

  @Test func deviceNumbersAreRead() throws {
    #expect(DeviceNumbers("7:3") == DeviceNumbers(major: 7, minor: 3))
    #expect(DeviceNumbers("7") == nil && DeviceNumbers("a:b") == nil)
    #expect(throws: BlockError.self) { try BlockDevice.numbers(ofNode: "/dev/null") }
  }
}
