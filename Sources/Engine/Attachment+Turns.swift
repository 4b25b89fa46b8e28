import Attachments
import BlockCore
import LinuxIO

// The operations on one attachment run one after the other.
extension Attachment {
  /// Who has asked for a turn.
  struct Turns {
    /// The last operation that was asked for; the next one waits for it.
    fileprivate var last: Task<Void, Never>?
    /// How many were asked for.
    fileprivate var count = 0
    /// The number of the last one that has begun.
    fileprivate var begun = 0
    /// The numbers of those that are not wanted any more when their turn comes.
    fileprivate var withdrawn: Set<Int> = []
  }

  /// Runs an operation when those that were asked for before are done.
  ///
  /// - Parameter patience: How long to wait for the turn; `nil` for as long as it takes.
  /// - Throws: What the operation says; `timedOut` if its turn has not come, and then it is not run.
  func inTurn<Value: Sendable>(
    within patience: Duration? = nil,
    _ operation: @escaping @Sendable (isolated Attachment) async -> Result<Value, BlockError>
  ) async throws(BlockError) -> Value {
    let previous = turns.last
    turns.count += 1
    let number = turns.count
    let task = Task { () -> Result<Value, BlockError> in
      await previous?.value
      if turns.withdrawn.remove(number) != nil { return .failure(stillAtWork(patience)) }
      turns.begun = number
      return await operation(self)
    }
    turns.last = Task { _ = await task.value }
    if let patience, let previous {
      let turn: Void? = await Race.first(within: patience, clock: context.services.clock) {
        await previous.value
      }
      if turn == nil, turns.begun < number {
        turns.withdrawn.insert(number)
        throw stillAtWork(patience)
      }
    }
    return try await task.value.get()
  }

  private func stillAtWork(_ patience: Duration?) -> BlockError {
    let waited = patience.map { " for \($0)" } ?? ""
    return BlockError(
      .timedOut, step: "wait for", object: id.text,
      cause: "another operation on it (it is \(state.rawValue)) has not come to an end\(waited)",
      remedy: state == .attaching && !isAbandoned
        ? "See: ashlar inspect \(id). To give that up: ashlar detach --id \(id) --force."
        : "See: ashlar inspect \(id), and try again.")
  }

  /// Gives up an attach that is under way, or about to be: its data server is killed, and the attach undoes itself.
  func abandonAttach() {
    guard state == .attaching, !isGone else { return }
    isAbandoned = true
    settle(.failure(abandoned))
    writerCheck?.yield(.failure(abandoned))
    killServer()
  }

  /// Goes no further with an attach that was given up.
  func checkIsWanted() throws(BlockError) {
    if isAbandoned { throw abandoned }
  }

  private var abandoned: BlockError {
    BlockError(
      .cancelled, step: "attach", object: id.text, cause: "somebody has detached it by force meanwhile",
      remedy: "Attach it again if it is still wanted.")
  }
}
