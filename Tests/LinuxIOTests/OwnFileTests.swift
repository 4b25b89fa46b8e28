import BlockCore
import Glibc
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
