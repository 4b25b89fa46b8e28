import FoundationEssentials

/// The seed of a randomized test: of `ASHLAR_SEED`, or a new one; printed, so that a failure can be repeated.
public enum Seed {
  /// The seed for a test of this name.
  public static func of(_ test: String) -> UInt64 {
    let given = ProcessInfo.processInfo.environment["ASHLAR_SEED"].flatMap { UInt64($0) }
    let seed = given ?? UInt64.random(in: 0..<1_000_000_000)
    print("\(test): repeat with ASHLAR_SEED=\(seed)")
    return seed
  }
}
