import BlockCore
import Foundation
import Glibc
import LinuxIO
import Synchronization
import TestKit
import Testing

/// Threads of our own: none leaves anything behind.
@Suite struct ThreadTests {
  /// Mappings of this process; an ended thread that nobody joins or detaches keeps two, its stack and a guard page.
  private static func mappings() -> Int {
    (SmallFile.text("/proc/self/maps", limit: 16 << 20) ?? "").split(separator: "\n").count
  }

  /// However its owner lets go of a thread, its stack is given back.
  @Test func endedThreadsLeaveNoStacks() throws {
    let count = 1000
    let ended = DispatchSemaphore(value: 0)
    let before = Self.mappings()
    for _ in 0..<count {
      _ = try WorkerThread(name: "dropped") { ended.signal() }
      try WorkerThread.start(name: "started") { ended.signal() }
      let joined = try WorkerThread(name: "joined") { ended.signal() }
      joined.join()
      for _ in 0..<3 { ended.wait() }
    }
    // Other tests of this process map files meanwhile; a leak of either kind would be 2,000 mappings.
    #expect(Self.mappings() < before + count)
  }

  /// Names are cut to what the kernel takes, at whole characters.
  @Test func aThreadShowsItsName() throws {
    for (name, shown) in [
      ("short", "short"), ("a name of twenty byt", "a name of twent"), ("naïve, naïve öö", "naïve, naïve"),
    ] {
      let seen = Mutex("")
      let thread = try WorkerThread(name: name) {
        let text = SmallFile.text("/proc/thread-self/comm") ?? ""
        seen.withLock { $0 = text }
      }
      thread.join()
      #expect(seen.withLock { $0 }.hasPrefix(shown), "\(name): \(seen.withLock { $0 })")
    }
  }
}
