import BlockCore

/// Waiting in system calls that may take long, or for ever.
public enum Blocking {
  /// The threads of a process for what waits, but for the requests of its disks, which have their own.
  public static let executor = BlockingExecutor(label: "ashlar waits", limit: Limits.waitingSteps)

  /// The threads for actors whose code may wait: not among those above, of which a stalled disk may hold every one.
  public static let actors = BlockingExecutor(label: "ashlar actors", limit: Limits.actorThreads)

  /// Runs a body on a thread that may wait, and gives its result.
  ///
  /// It runs to its end if the caller withdraws.
  ///
  /// - Parameters:
  ///   - name: What the thread is called meanwhile.
  ///   - body: What waits.
  /// - Throws: What the body throws.
  public static func run<Value: Sendable, Failure: Error>(
    _ name: String, _ body: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let outcome: Result<Value, Failure> = await withCheckedContinuation { continuation in
      start(name) {
        do throws(Failure) {
          continuation.resume(returning: .success(try body()))
        } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
    return try outcome.get()
  }

  /// As ``run(_:_:)``, without anybody who waits for it; returns at once.
  public static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
    executor.perform {
      WorkerThread.nameCurrent(name)
      body()
    }
  }
}
