import BlockCore
import LinuxIO

/// Waiting in system calls that may take long, or for ever.
public enum Blocking {
  /// Runs a body on a thread of its own and gives its result.
  ///
  /// - Parameters:
  ///   - name: What the thread is called.
  ///   - body: What waits.
  /// - Throws: What the body throws, and `exhausted` without a thread.
  public static func run<Value: Sendable>(
    _ name: String, _ body: @escaping @Sendable () throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let outcome: Result<Value, BlockError> = await withCheckedContinuation { continuation in
      do throws(BlockError) {
        try WorkerThread.start(name: name) {
          do throws(BlockError) {
            continuation.resume(returning: .success(try body()))
          } catch {
            continuation.resume(returning: .failure(error))
          }
        }
      } catch {
        continuation.resume(returning: .failure(error))
      }
    }
    return try outcome.get()
  }
}
