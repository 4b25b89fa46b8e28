import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The clocks of this host.
public struct LinuxClock: HostClock {
  /// Makes the one view there is.
  public init() {}

  public var now: Duration { Self.time(of: CLOCK_MONOTONIC) }

  public var sinceEpoch: Duration { Self.time(of: CLOCK_REALTIME) }

  public func sleep(until moment: Duration) async throws {
    let rest = moment - now
    if rest > .zero { try await Task.sleep(for: rest) }
  }

  private static func time(of clock: clockid_t) -> Duration {
    var time = timespec()
    // It cannot fail for these two clocks and a valid pointer (clock_gettime(2)).
    clock_gettime(clock, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }
}

/// The kernel's random numbers.
public struct LinuxRandom: RandomSource {
  /// Makes the one source there is.
  public init() {}

  public func next() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
  }
}

extension HostServices {
  /// The services of this host.
  public static var linux: HostServices {
    HostServices(files: LinuxFileSystem(), clock: LinuxClock(), random: LinuxRandom())
  }
}

/// This process.
public enum LinuxProcess {
  /// Asks the kernel to choose nearly any other process before this one when memory runs out: disks depend on it.
  ///
  /// Processes that it starts inherit that.
  ///
  /// - Throws: `permissionDenied` without CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)).
  public static func goLastWhenMemoryIsShort() throws(BlockError) {
    try LinuxFileSystem.write("-900", toAttribute: "/proc/self/oom_score_adj")
  }
}
