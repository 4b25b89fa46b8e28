/// What the engine takes from the host besides its kernel interfaces: files, time and chance.
///
/// Everything that reads a clock, sleeps, rolls dice or touches a file does it through one of these, so
/// that a simulated host can take their place (`BlockSim`).
public struct HostServices: Sendable {
  /// The files.
  public let files: any FileSystem
  /// The time.
  public let clock: any HostClock
  /// Chance.
  public let random: any RandomSource

  /// Makes a set of services; the parameters are those of the properties.
  public init(files: any FileSystem, clock: any HostClock, random: any RandomSource) {
    self.files = files
    self.clock = clock
    self.random = random
  }
}

/// Time on a host.
public protocol HostClock: Sendable {
  /// The time since an arbitrary moment, never going back (`CLOCK_MONOTONIC`).
  var now: Duration { get }
  /// The time since 1970-01-01 00:00:00 UTC (`CLOCK_REALTIME`).
  var sinceEpoch: Duration { get }
  /// Waits until ``now`` has reached a moment.
  ///
  /// - Throws: `CancellationError` if the task is cancelled first.
  func sleep(until moment: Duration) async throws
}

extension HostClock {
  /// Waits for a time; throws as ``sleep(until:)``.
  public func sleep(for time: Duration) async throws {
    try await sleep(until: now + time)
  }
}

/// A source of random numbers that may be shared.
public protocol RandomSource: Sendable {
  /// 64 random bits.
  func next() -> UInt64
}

/// A random number generator over a ``RandomSource``, for the standard library's functions.
public struct RandomNumbers: RandomNumberGenerator {
  private let source: any RandomSource

  /// Makes a generator that draws from a source.
  public init(_ source: any RandomSource) { self.source = source }

  public mutating func next() -> UInt64 { source.next() }
}

extension HostClock {
  /// Sleeps for a time between two looks at something.
  ///
  /// - Throws: `cancelled` if the caller withdraws meanwhile.
  public func pause(for time: Duration) async throws(BlockError) {
    do {
      try await sleep(for: time)
    } catch {
      throw BlockError(.cancelled, step: "wait for", object: "a device", cause: "the caller withdrew")
    }
  }
}
