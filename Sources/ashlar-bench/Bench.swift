import ArgumentParser
import BlockCore
import Glibc
import LinuxIO

/// The measurements that run inside one process; scripts/bench runs them beside the peers.
@main
struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ashlar-bench", abstract: "Measures Ashlar's library.",
    subcommands: [PrepareCommand.self, LookupCommand.self, ReadCommand.self, DecodeCommand.self])
}

/// Timing a piece of work.
enum Stopwatch {
  /// How long a body took, in seconds.
  static func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let clock = LinuxClock()
    let start = clock.now
    try await body()
    let (seconds, attoseconds) = (clock.now - start).components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }
}

/// Random numbers for offsets: xorshift64* (Vigna 2016), fast enough not to be what is measured.
struct FastRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed | 1 }

  @inline(__always)
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }

  /// A number below a bound, by multiplication.
  @inline(__always)
  mutating func next(below bound: UInt64) -> UInt64 {
    next().multipliedFullWidth(by: bound).high
  }
}
