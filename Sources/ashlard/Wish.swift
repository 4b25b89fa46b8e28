import Synchronization

/// A wish that somebody has expressed to the manager: that it end, or that it stay.
final class Wish: Sendable {
  private let flag = Atomic<Bool>(false)

  /// Expresses the wish.
  func raise() { flag.store(true, ordering: .relaxed) }

  /// Whether it was expressed.
  var isRaised: Bool { flag.load(ordering: .relaxed) }
}
