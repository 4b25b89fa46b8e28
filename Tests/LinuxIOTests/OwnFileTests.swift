import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

/// Files that the engine has for itself: what stands in their place is neither followed nor waited for.
@Suite struct OwnFileTests {
  private let scratch: Scratch
  private let content = Array("somebody's own text".utf8)

  init() throws { scratch = try Scratch() }

  private func expectRefusal(_ path: String, _ location: SourceLocation = #_sourceLocation) {
    let error = #expect(throws: BlockError.self, sourceLocation: location) {
      _ = try FileLock.take(path)
    }
    #expect(error?.kind == .invalidArgument, sourceLocation: location)
    #expect(error?.cause.contains("not a regular file") == true, sourceLocation: location)
  }

  @Test func aLockIsNoOtherFile() throws {
    let victim = try scratch.write("victim", content)
    #expect(symlink(victim, scratch("link")) == 0)
    expectRefusal(scratch("link"))
    #expect(try scratch.bytes("victim") == content)
    #expect(symlink(scratch("absent"), scratch("dangling")) == 0)
    expectRefusal(scratch("dangling"))
    #expect(access(scratch("absent"), F_OK) != 0)
    #expect(mkfifo(scratch("fifo"), 0o600) == 0)
    expectRefusal(scratch("fifo"))
    #expect(FileLock.lastNote(of: scratch("fifo")) == nil)
    #expect(mkdir(scratch("directory"), 0o700) == 0)
    expectRefusal(scratch("directory"))
  }

  /// A disk that does not answer may keep a process that has ended from letting go of its lock.
  @Test func aLockOfTheDeadIsFree() throws {
    let path = scratch("lock")
    let script = """
      import fcntl, os, sys, time
      os.setpgid(0, 0)
      if os.fork() == 0:
          lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
          fcntl.flock(lock, fcntl.LOCK_EX)
          os.write(lock, b"%d daemon\\n" % os.getpid())
          if os.fork() > 0: os._exit(0)
      # Nobody asks how it has ended: it is there still, and dead.
      time.sleep(600)
      """
    let program = Process()
    program.executableURL = URL(filePath: "/usr/bin/python3")
    program.arguments = ["-c", script, path]
    program.standardOutput = FileHandle.nullDevice
    program.standardError = FileHandle.nullDevice
    try program.run()
    let group = program.processIdentifier
    defer {
      kill(-group, SIGKILL)
      program.waitUntilExit()
    }
    var isThere = false
    for _ in 0..<500 where !isThere {
      isThere = FileLock.lastNote(of: path).map { ProcessIdentity.isOnlyLeft($0.pid) } ?? false
      usleep(10_000)
    }
    try #require(isThere)
    guard let lock = try FileLock.take(path) else {
      Issue.record("it is not free")
      return
    }
    try lock.note("mine")
    #expect(FileLock.holder(of: path)?.process.pid == getpid())
  }

  @Test func aReserveIsNoOtherFile() throws {
    let byteCount = 256 << 10
    let victim = try scratch.write("victim", [UInt8](repeating: 7, count: byteCount))
    #expect(symlink(victim, scratch("link")) == 0)
    #expect(mkfifo(scratch("fifo"), 0o600) == 0)
    for name in ["link", "fifo"] {
      let reserve = SpaceReserve(scratch(name), byteCount: UInt64(byteCount))
      #expect(!reserve.keep(), "\(name)")
      #expect(!reserve.giveUp(), "\(name)")
    }
    #expect(try scratch.bytes("victim").count == byteCount)
    let reserve = SpaceReserve(scratch("reserve"), byteCount: UInt64(byteCount))
    #expect(reserve.keep())
    #expect(reserve.giveUp())
  }
}
