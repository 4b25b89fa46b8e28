import BlockCore
import Foundation
import Glibc
import LinuxIO
import TestKit
import Testing

/// Programs that are started: what they get, how long they are waited for, and what they are taken for.
@Suite struct ChildTests {
  /// A descriptor of ours may have the number that another one gets in the child.
  @Test func descriptorsThatChangePlacesReachTheChild() throws {
    let scratch = try Scratch()
    let texts = ["first", "second", "third"]
    let files = try texts.map { try scratch.write($0, text: $0) }
    let descriptors = try files.map { path throws(BlockError) in
      try Descriptor.open(path, O_RDONLY).release()
    }
    defer { for descriptor in descriptors { close(descriptor) } }
    let wanted = Dictionary(
      uniqueKeysWithValues: zip(descriptors, descriptors.dropFirst() + descriptors.prefix(1)))
    let script = descriptors.map { "cat <&\($0) >\(scratch("got-\($0)"))" }.joined(separator: "; ")
    let pid = try ChildProcess.start(
      .init(program: "/bin/bash", arguments: ["-c", script], descriptors: wanted))
    #expect(ChildProcess.waitForEnd(of: pid).isSuccess)
    for (place, descriptor) in descriptors.enumerated() {
      #expect(SmallFile.text(scratch("got-\(descriptor)")) == texts[(place + 1) % texts.count])
    }
  }

  /// A program that closes its output and lives on has no more time than any other.
  @Test func aProgramWithoutOutputIsNotWaitedForLonger() throws {
    let start = ContinuousClock.now
    let error = #expect(throws: BlockError.self) {
      _ = try ChildProcess.ask(
        "/bin/bash", ["-c", "exec >&- 2>&-; exec sleep 30"], limit: 100, deadline: .milliseconds(300))
    }
    #expect(error?.kind == .timedOut)
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  /// A child of ours that has not become another program has our descriptors for a moment: that is not a use.
  @Test func aChildBeforeItsProgramUsesNoDevice() throws {
    let scratch = try Scratch()
    let pipe = scratch("pipe")
    #expect(mkfifo(pipe, 0o600) == 0)
    let file = try scratch.write("disk", [UInt8](repeating: 0, count: 1 << 20))
    let loop = try LoopDevice.attach(
      try Descriptor.open(file, O_RDONLY),
      .init(isReadOnly: true, blockSize: 512, label: "ashlar test", checksDirectIO: true))
    defer { withExtendedLifetime(loop) {} }
    let device = try Descriptor.open(loop.path, O_RDONLY)
    let numbers = try BlockDevice.numbers(ofNode: loop.path)
    #expect(BlockDevice.openers(of: [numbers]).contains { $0.pid == getpid() })
    // Between fork and exec it waits for somebody to open the pipe's other end.
    let spawner = try WorkerThread(name: "spawner") {
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_addopen(&actions, 0, pipe, O_RDONLY, 0)
      var pid: pid_t = 0
      var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("true"), nil]
      defer { free(arguments[0]) }
      guard posix_spawn(&pid, "/bin/true", &actions, nil, &arguments, nil) == 0 else { return }
      waitpid(pid, nil, 0)
    }
    // There once it has our device open: only then can it be taken for a user.
    func child() -> Int32? {
      SmallFile.entries("/proc").compactMap(Int32.init).first { pid in
        guard pid != getpid(), let stat = SmallFile.text("/proc/\(pid)/stat"),
          let fields = stat.split(separator: ")").last?.split(separator: " "), fields.count > 6,
          fields[1] == "\(getpid())"
        else { return false }
        return
          (try? FileManager.default.destinationOfSymbolicLink(
            atPath: "/proc/\(pid)/fd/\(device.raw)")) == loop.path
      }
    }
    var found = child()
    for _ in 0..<500 where found == nil {
      usleep(10_000)
      found = child()
    }
    #expect(found != nil)
    #expect(!BlockDevice.openers(of: [numbers]).contains { $0.pid == found })
    // Also where none came so far, this does not wait.
    let writer = open(pipe, O_RDWR)
    spawner.join()
    close(writer)
  }

  /// A listener that nobody serves, and a reader that does not read: both are given up.
  @Test func aSideThatTakesNothingIsGivenUp() throws {
    let scratch = try Scratch()
    let listener = try MessageSocket.listen(at: scratch("s.sock"))
    let unserved = try MessageSocket.listen(at: scratch("unserved.sock"))
    defer { withExtendedLifetime(unserved) {} }
    let near = try MessageSocket.connect(to: scratch("s.sock"))
    let far = try MessageSocket.accept(from: listener)
    let message = [UInt8](repeating: 1, count: 32 << 10)
    let start = ContinuousClock.now
    let error = #expect(throws: BlockError.self) {
      for _ in 0..<100 { try near.send(message) }
    }
    #expect(error?.kind == .timedOut)
    // More than wait at a listener; that they have gone again does not make room.
    let refused = #expect(throws: BlockError.self) {
      for _ in 0..<100 { _ = try MessageSocket.connect(to: scratch("unserved.sock")) }
    }
    #expect(refused?.kind == .timedOut)
    #expect(ContinuousClock.now - start < .seconds(20))
    // What was taken before is whole.
    guard case .message(let bytes, _) = try far.receive() else { return #expect(Bool(false), "no message") }
    #expect(bytes == message)
  }
}
