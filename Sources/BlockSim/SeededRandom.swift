import BlockCore
import Synchronization

/// Random numbers that are the same for the same seed: SplitMix64 (Steele, Lea, Flood 2014).
public struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// Begins the sequence of a seed.
  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}

/// A shared source of random numbers that are the same for the same seed.
public final class SeededRandom: RandomSource {
  private let generator: Mutex<SplitMix64>

  /// Begins the sequence of a seed.
  public init(seed: UInt64) { generator = Mutex(SplitMix64(seed: seed)) }

  public func next() -> UInt64 { generator.withLock { $0.next() } }
}
