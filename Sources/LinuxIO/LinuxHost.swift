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
