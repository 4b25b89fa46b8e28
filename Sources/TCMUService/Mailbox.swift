import BlockCore
import LinuxIO
import Synchronization

/// What other threads ask of the service's thread.
final class Mailbox: Sendable {
  /// What is asked.
  enum Order: Sendable {
    /// To show another handler.
    case add(HandlerDescription)
    /// To show a handler no more.
    case remove(HandlerSubtype)
    /// To answer a call for a check of a configuration.
    case answer(call: UInt64, ConfigCheck)
    /// To end.
    case stop
  }

  /// An order, and who waits for its outcome.
  struct Letter: Sendable {
    let order: Order
    let done: @Sendable (BlockError?) -> Void
  }

  private struct State {
    var letters: [Letter] = []
    var isClosed = false
  }

  private let state = Mutex(State())
  private let signal: WakeSignal

  /// Makes an empty one.
  ///
  /// - Throws: By errno.
  init() throws(BlockError) {
    signal = try WakeSignal()
  }

  /// The descriptor that can be read while there are letters.
  var raw: Int32 { signal.raw }

  /// Leaves an order.
  ///
  /// - Parameter done: Called, on any thread, with its outcome.
  func post(_ order: Order, done: @escaping @Sendable (BlockError?) -> Void = { _ in }) {
    let isClosed = state.withLock { state in
      if !state.isClosed { state.letters.append(Letter(order: order, done: done)) }
      return state.isClosed
    }
    if isClosed { done(Self.stopped) } else { signal.raise() }
  }

  /// Leaves an order and waits for its outcome.
  func ask(_ order: Order) async throws(BlockError) {
    let error = await withCheckedContinuation { continuation in
      post(order) { continuation.resume(returning: $0) }
    }
    if let error { throw error }
  }

  /// Takes all letters.
  func take() -> [Letter] {
    signal.lower()
    return state.withLock { state in
      defer { state.letters = [] }
      return state.letters
    }
  }

  /// Takes no more letters, and turns down those that are there.
  func close() {
    let letters = state.withLock { state in
      state.isClosed = true
      defer { state.letters = [] }
      return state.letters
    }
    for letter in letters { letter.done(Self.stopped) }
  }

  private static var stopped: BlockError {
    BlockError(.cancelled, step: "change", object: "the D-Bus service", cause: "it has been stopped")
  }
}
