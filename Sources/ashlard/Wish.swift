import Synchronization

/// A wish that somebody has expressed to the manager: that it end, or that it stay.
final class Wish: Sendable {
  private let flag = Atomic<Bool>(false)
  private let expression: AsyncStream<Never>
  private let post: AsyncStream<Never>.Continuation

  init() { (expression, post) = AsyncStream.makeStream() }

  /// Expresses the wish.
  func raise() {
    flag.store(true, ordering: .relaxed)
    post.finish()
  }

  /// Waits until it is expressed, or the caller is cancelled; for one caller, once.
  func raised() async {
    for await _ in expression {}
  }

  /// Whether it was expressed.
  var isRaised: Bool { flag.load(ordering: .relaxed) }
}
