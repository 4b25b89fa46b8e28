import BlockCore
import Synchronization

/// Spreads a list of ranges over tasks, each with a workspace of its own.
public enum WorkShare {
  /// Bytes of one piece of work.
  public static let pieceByteCount: UInt64 = 4 << 20

  /// Ranges cut into pieces of at most ``pieceByteCount``, at multiples of it.
  public static func pieces(of ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    ranges.flatMap { range -> [Range<UInt64>] in
      var pieces: [Range<UInt64>] = []
      var start = range.lowerBound
      while start < range.upperBound {
        let end = min((start / pieceByteCount + 1) * pieceByteCount, range.upperBound)
        pieces.append(start..<end)
        start = end
      }
      return pieces
    }
  }

  /// Runs a body for every piece; the first failure ends the work.
  ///
  /// - Parameters:
  ///   - pieces: What there is to do.
  ///   - taskCount: How many tasks share it.
  ///   - body: Does one piece, with the task's own workspace.
  /// - Throws: What the body throws; `cancelled` if the task is cancelled.
  public static func forEach(
    _ pieces: [Range<UInt64>], taskCount: Int,
    _ body: @escaping @Sendable (Range<UInt64>, Workspace) async throws(BlockError) -> Void
  ) async throws(BlockError) {
    let next = Counter()
    let failure = await withTaskGroup(of: BlockError?.self) { group in
      for _ in 0..<max(taskCount, 1) {
        group.addTask {
          let workspace = Workspace()
          do throws(BlockError) {
            while let number = next.take(below: pieces.count) {
              if Task.isCancelled {
                throw BlockError(
                  .cancelled, step: "read", object: "the image", cause: "the work was called off")
              }
              try await body(pieces[number], workspace)
            }
            return nil
          } catch {
            next.stop()
            return error
          }
        }
      }
      var failure: BlockError?
      for await outcome in group where failure == nil { failure = outcome }
      return failure
    }
    if let failure { throw failure }
  }

  private final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    func take(below limit: Int) -> Int? {
      let number = value.wrappingAdd(1, ordering: .relaxed).oldValue
      return number < limit ? number : nil
    }

    func stop() { value.store(Int.max / 2, ordering: .relaxed) }
  }
}
