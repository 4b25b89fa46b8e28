/// Waiting with a deadline for what cannot be cancelled.
package enum Race {
  /// The result of a body, or `nil` if it has none after a time.
  ///
  /// The body runs on; its result is dropped.
  package static func first<Value: Sendable>(
    within deadline: Duration, clock: any HostClock, _ body: @escaping @Sendable () async -> Value
  ) async -> Value? {
    let (outcomes, post) = AsyncStream<Value?>.makeStream(bufferingPolicy: .bufferingOldest(1))
    let work = Task { post.yield(await body()) }
    let timer = Task {
      // Cancelled when the body was faster.
      if (try? await clock.sleep(for: deadline)) != nil { post.yield(nil) }
    }
    defer {
      timer.cancel()
      work.cancel()
    }
    for await outcome in outcomes { return outcome }
    return nil
  }
}
