import Synchronization

/// Somebody's wish that the manager end.
final class StopSignal: Sendable {
  private let flag = Atomic<Bool>(false)

  /// Expresses the wish.
  func raise() { flag.store(true, ordering: .relaxed) }

  /// Whether it was expressed.
  var isRaised: Bool { flag.load(ordering: .relaxed) }
}
