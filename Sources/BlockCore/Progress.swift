import Synchronization

/// How far a long piece of work has come; counted by many tasks, watched by one.
public final class Progress: Sendable {
  private let done = Atomic<UInt64>(0)
  private let total = Atomic<UInt64>(0)

  /// Begins with nothing done of nothing.
  public init() {}

  /// Says how much there is to do altogether, in bytes.
  public func expect(_ byteCount: UInt64) {
    total.wrappingAdd(byteCount, ordering: .relaxed)
  }

  /// Says that so many bytes more are done.
  public func advance(by byteCount: UInt64) {
    done.wrappingAdd(byteCount, ordering: .relaxed)
  }

  /// What is done, and what there is to do, in bytes.
  public var bytes: (done: UInt64, total: UInt64) {
    (done.load(ordering: .relaxed), total.load(ordering: .relaxed))
  }
}
