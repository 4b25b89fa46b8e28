import Glibc
import LinuxIO
import TestKit
import Testing

/// Who has a device open, as /proc tells.
@Suite struct OpenersTests {
  /// As in a container, or where somebody has made one for himself.
  @Test func aNodeMayStandAnywhere() throws {
    let scratch = try Scratch()
    let file = try scratch.write("disk", [UInt8](repeating: 0, count: 1 << 20))
    let loop = try LoopDevice.attach(
      try Descriptor.open(file, O_RDONLY),
      .init(isReadOnly: true, blockSize: 512, label: "ashlar test", checksDirectIO: true))
    defer { withExtendedLifetime(loop) {} }
    let numbers = try BlockDevice.numbers(ofNode: loop.path)
    var status = stat()
    #expect(stat(loop.path, &status) == 0)
    #expect(mknod(scratch("node"), S_IFBLK | 0o600, status.st_rdev) == 0)
    // One that only stands for the node does not have it open.
    for (flags, isUser) in [(O_RDONLY, true), (0o10000000, false)] {
      let node = try Descriptor.open(scratch("node"), flags)
      let child = try ChildProcess.start(
        .init(program: "/bin/sleep", arguments: ["60"], descriptors: [0: node.raw]))
      defer {
        kill(child, SIGKILL)
        _ = ChildProcess.waitForEnd(of: child)
      }
      // It is ours, and not yet another program, for a moment.
      for _ in 0..<100 where SmallFile.text("/proc/\(child)/comm") != "sleep" { usleep(10_000) }
      #expect(BlockDevice.openers(of: [numbers]).contains { $0.pid == child } == isUser)
      #expect(!BlockDevice.openers(of: [numbers], except: child).contains { $0.pid == child })
    }
  }
}
