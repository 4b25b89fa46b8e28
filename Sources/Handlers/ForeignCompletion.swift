import CAshlarHandler
import Synchronization

/// The end of one call of a handler's function, at once or later.
final class ForeignCompletion: Sendable {
  private let continuation: Mutex<CheckedContinuation<Int32, Never>?>

  private init(_ continuation: CheckedContinuation<Int32, Never>) {
    self.continuation = Mutex(continuation)
  }

  /// Calls a function and waits for its end.
  ///
  /// - Parameters:
  ///   - gate: What limits the calls; held while the function runs, not while the request is pending.
  ///   - body: Calls the function with the completion that it may pass back.
  /// - Returns: What the function returned, or was completed with.
  static func run(_ gate: CallGate, _ body: (OpaquePointer) -> Int32) async -> Int32 {
    await gate.enter()
    return await withCheckedContinuation { continuation in
      let completion = ForeignCompletion(continuation)
      // This reference belongs to whoever ends the call.
      let result = body(OpaquePointer(Unmanaged.passRetained(completion).toOpaque()))
      gate.leave()
      if result != Int32(ASHLAR_PENDING) { completion.finish(result) }
    }
  }

  /// Ends the call that a handler passes back.
  static func finish(_ address: OpaquePointer, _ result: Int32) {
    Unmanaged<ForeignCompletion>.fromOpaque(UnsafeRawPointer(address)).takeUnretainedValue().finish(result)
  }

  private func finish(_ result: Int32) {
    let first = continuation.withLock { continuation in
      defer { continuation = nil }
      return continuation
    }
    guard let first else { return }
    first.resume(returning: result)
    Unmanaged.passUnretained(self).release()
  }
}
