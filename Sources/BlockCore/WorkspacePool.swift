import Synchronization

/// Workspaces for tasks of the second phase, which run on whatever thread is free.
///
/// Borrowing takes a lock for a moment; the first phase never does it.
public final class WorkspacePool: Sendable {
  private let idle = Mutex<[Disconnected]>([])
  private let capacity: Int

  /// Carries a workspace that nobody else refers to from one thread to another.
  ///
  /// Proof for `@unchecked Sendable`: a workspace gets into a box only in ``withWorkspace(_:)`` after the
  /// body that had borrowed it has returned, and leaves it under the lock for exactly one next borrower.
  private struct Disconnected: @unchecked Sendable {
    let workspace: Workspace
  }

  /// Makes a pool that keeps at most so many idle workspaces.
  public init(capacity: Int = 32) {
    self.capacity = capacity
  }

  /// Runs a body with a workspace that nobody else uses meanwhile.
  public func withWorkspace<Result>(
    _ body: (Workspace) async throws(BlockError) -> sending Result
  ) async throws(BlockError) -> sending Result {
    let borrowed = idle.withLock { $0.popLast() } ?? Disconnected(workspace: Workspace())
    defer {
      idle.withLock { idle in
        if idle.count < capacity { idle.append(borrowed) }
      }
    }
    return try await body(borrowed.workspace)
  }
}
