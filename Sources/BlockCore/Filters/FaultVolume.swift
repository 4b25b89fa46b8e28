import Synchronization

/// A volume that fails requests on purpose, to see what the layers above make of it.
public final class FaultVolume: Volume {
  /// Which requests fail, and how.
  public struct Rule: Sendable {
    /// When a matching request fails.
    public enum Trigger: Sendable {
      /// The `n`-th matching request fails, counted from 1; the others pass.
      case number(UInt64)
      /// Every matching request from the `n`-th on fails, counted from 1.
      case from(UInt64)
      /// A matching request fails with this probability, 0 to 1.
      case probability(Double)
    }

    /// The operations that match; all of them if empty.
    public var operations: Set<BlockRequest.Operation>
    /// The bytes that match: a request matches if it touches one of them.
    ///
    /// `nil` for the whole volume.
    public var range: Range<UInt64>?
    /// When it fails.
    public var trigger: Trigger
    /// What it fails with.
    public var kind: BlockError.Kind

    /// Makes a rule; the parameters are those of the properties.
    public init(
      _ trigger: Trigger, as kind: BlockError.Kind = .ioError,
      operations: Set<BlockRequest.Operation> = [], range: Range<UInt64>? = nil
    ) {
      self.operations = operations
      self.range = range
      self.trigger = trigger
      self.kind = kind
    }

    fileprivate func matches(_ request: BlockRequest) -> Bool {
      guard operations.isEmpty || operations.contains(request.operation) else { return false }
      guard let range else { return true }
      return request.offset < range.upperBound && range.lowerBound < request.offset + request.byteCount
    }
  }

  private let base: any Volume
  private let rules: [Rule]
  private let random: any RandomSource
  private let counts: Mutex<[UInt64]>
  public let geometry: VolumeGeometry

  /// Makes a failing view of a volume.
  ///
  /// - Parameters:
  ///   - base: The volume that serves what does not fail.
  ///   - rules: Which requests fail; the first rule that triggers decides.
  ///   - random: Where probabilities come from; a seeded source makes a run repeatable.
  public init(_ base: any Volume, rules: [Rule], random: any RandomSource) {
    self.base = base
    self.rules = rules
    self.random = random
    self.counts = Mutex([UInt64](repeating: 0, count: rules.count))
    self.geometry = base.geometry
  }

  /// How many requests each rule has matched so far.
  public var matchCounts: [UInt64] { counts.withLock { $0 } }

  private func decide(_ request: BlockRequest) throws(BlockError) {
    for index in rules.indices where rules[index].matches(request) {
      let number = counts.withLock { counts in
        counts[index] += 1
        return counts[index]
      }
      let fails =
        switch rules[index].trigger {
        case .number(let chosen): number == chosen
        case .from(let first): number >= first
        case .probability(let share): Double(random.next() >> 11) * 0x1p-53 < share
        }
      if fails {
        throw BlockError(
          rules[index].kind, step: "\(request.operation)",
          object: "\(request.byteCount) bytes at byte \(request.offset)", cause: "injected fault")
      }
    }
  }

  /// The decision falls in the first phase; the second serves what had to wait.
  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try decide(request)
    return try base.serveNow(request, data: &data, using: workspace)
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try await base.serve(request, data: &data, using: workspace)
  }
}
