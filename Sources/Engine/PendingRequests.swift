/// Requests to a data server, in the order in which they were sent, that have not been answered yet.
///
/// One whose asker has gone away stays until its answer has come, so that this is not taken for the answer to the next.
struct PendingRequests<Answer: Sendable> {
  private struct Entry {
    let number: UInt64
    var asker: CheckedContinuation<Answer, Never>?
  }

  private var entries: [Entry] = []

  /// How many there are, those included whose asker has gone away.
  var count: Int { entries.count }

  /// Adds a request that was sent.
  mutating func add(_ number: UInt64, _ asker: CheckedContinuation<Answer, Never>) {
    entries.append(Entry(number: number, asker: asker))
  }

  /// Takes an answer.
  ///
  /// - Parameters:
  ///   - answer: The answer.
  ///   - number: Of which request; without a number it is that of the oldest, since servers that know no numbers answer
  ///     in turn.
  mutating func take(_ answer: Answer, for number: UInt64?) {
    guard
      let place = number.map({ number in entries.firstIndex { $0.number == number } })
        ?? entries.indices.first
    else { return }
    let entry = entries.remove(at: place)
    entry.asker?.resume(returning: answer)
  }

  /// Tells an asker that his answer has not come in time.
  mutating func giveUp(_ number: UInt64, with answer: Answer) {
    guard let place = entries.firstIndex(where: { $0.number == number }) else { return }
    entries[place].asker?.resume(returning: answer)
    entries[place].asker = nil
  }

  /// Tells every asker that no answer will come.
  mutating func end(with answer: Answer) {
    let all = entries
    entries = []
    for entry in all { entry.asker?.resume(returning: answer) }
  }
}
