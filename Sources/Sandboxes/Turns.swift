import Synchronization

/// Lets those who want the same object go one after the other, in the order in which they came.
///
/// It exists independently of what it guards: two who make the same thing take turns, too.
final class Turns: Sendable {
  /// Those who wait, by what they wait for; an entry without anybody is one that is taken.
  private let waiting = Mutex<[String: [CheckedContinuation<Void, Never>]]>([:])

  /// Waits for one's turn.
  func begin(_ object: String) async {
    await withCheckedContinuation { continuation in
      let isFree = waiting.withLock { waiting in
        guard waiting[object] != nil else {
          waiting[object] = []
          return true
        }
        waiting[object, default: []].append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  /// Ends one's turn.
  func end(_ object: String) {
    let next = waiting.withLock { waiting -> CheckedContinuation<Void, Never>? in
      guard var line = waiting[object], !line.isEmpty else {
        waiting[object] = nil
        return nil
      }
      let next = line.removeFirst()
      waiting[object] = line
      return next
    }
    next?.resume()
  }
}
