import Attachments
import BlockCore
import DeviceMapper
import Images
import LinuxIO
import Logging
import Synchronization

/// What a manager knows of the sandboxes besides the journal.
struct WatchState {
  /// Something that takes long.
  struct Work {
    let kind: String
    let progress: Progress
    let cancel: @Sendable () -> Void
  }

  var works: [String: Work] = [:]
  var events: [SandboxEvent] = []
  var lastEvent: UInt64 = 0
  /// The highest mark that a store has reached, in percent, by the sandbox's name.
  var marks: [String: Int] = [:]
  /// What was wrong with a sandbox when it was last looked at.
  var problems: [String: String] = [:]
  /// The sandboxes of which what had to wait is being finished.
  var finishing: Set<String> = []
}

extension Sandboxes {
  /// The marks of a store's fill that are told of, in percent.
  private static let marks = [80, 95]

  /// Notes and logs that something has happened.
  func note(_ name: String, _ kind: String, _ text: String) {
    log.notice("\(name): \(text)")
    let time = Double(services.clock.sinceEpoch.components.seconds)
    watch.withLock { watch in
      watch.lastEvent += 1
      watch.events.append(
        SandboxEvent(number: watch.lastEvent, time: time, name: name, kind: kind, text: text))
      if watch.events.count > Limits.sandboxEvents { watch.events.removeFirst() }
    }
  }

  /// What has happened since an event: at most the last 256.
  ///
  /// - Parameter number: The last event that the caller knows; 0 for none.
  public func events(after number: UInt64) -> [SandboxEvent] {
    watch.withLock { $0.events.filter { $0.number > number } }
  }

  /// What takes long with a sandbox.
  func work(of name: String) -> SandboxInfo.Work? {
    guard let work = watch.withLock({ $0.works[name] }) else { return nil }
    let (done, total) = work.progress.bytes
    return SandboxInfo.Work(kind: work.kind, done: done, total: total)
  }

  /// Calls off what takes long with a sandbox; false if there is nothing.
  public func cancelWork(of name: SandboxName) -> Bool {
    watch.withLock { watch in
      guard let work = watch.works[name.text], work.kind != "merge" else { return false }
      work.cancel()
      return true
    }
  }

  /// Runs a body that takes long, so that it can be watched and called off.
  func withWork<Value: Sendable>(
    _ name: String, _ kind: String, _ body: @escaping @Sendable (Progress) async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let progress = Progress()
    let task = executor.start { () async throws(BlockError) in try await body(progress) }
    watch.withLock { $0.works[name] = .init(kind: kind, progress: progress, cancel: { task.cancel() }) }
    let result = await task.value
    let isCalledOff = watch.withLock { watch in
      watch.works[name] = nil
      return task.isCancelled
    }
    let value = try result.get()
    // Whoever was told that it is called off is not to find it done.
    guard !isCalledOff else {
      throw BlockError(.cancelled, step: kind, object: name, cause: "it was called off")
    }
    return value
  }

  /// Looks after the sandboxes until the task is cancelled: finishes what had to wait for somebody, and tells how full
  /// the stores are.
  ///
  /// The kernel tells of neither, so it looks; but only while there is a sandbox of which that can be so.
  public func watchOver() async {
    var round = 0
    var changes = journal.changes.makeAsyncIterator()
    while !Task.isCancelled {
      do throws(BlockError) {
        try await services.clock.pause(for: .milliseconds(500))
        if try isQuiet() {
          journal.keepReserve()
          await changes.next()
        }
        try finishWhatWaits()
        if round % 4 == 0 {
          journal.keepReserve()
          try await lookAtStores()
        }
      } catch {
        if error.kind != .cancelled { log.warning("\(error)") }
      }
      round += 1
    }
  }

  /// Whether nothing can happen by itself to any of the sandboxes.
  private func isQuiet() throws(BlockError) -> Bool {
    let restless: Set<String> = [
      SandboxState.pausing.rawValue, SandboxState.removing.rawValue, SandboxState.running.rawValue,
    ]
    return !(try journal.rows().contains { restless.contains($0.state) })
  }

  /// Begins to finish what had to wait for somebody: one whose disk does not answer holds up no other.
  private func finishWhatWaits() throws(BlockError) {
    for name in try journal.rows().filter({ Self.waiting.contains($0.state) }).map(\.name) {
      guard watch.withLock({ $0.finishing.insert(name).inserted }) else { continue }
      Task {
        await finishIfPossible(name)
        watch.withLock { _ = $0.finishing.remove(name) }
      }
    }
  }

  private static let waiting: Set<String> = [SandboxState.pausing.rawValue, SandboxState.removing.rawValue]

  private func finishIfPossible(_ name: String) async {
    do throws(BlockError) {
      try await inTurn(name) { [self] () async throws(BlockError) in
        // It may have gone on, or away, since.
        guard var row = try journal.row(name), Self.waiting.contains(row.state) else { return }
        if row.state == SandboxState.pausing.rawValue {
          try await finishPause(&row, within: .zero)
          note(name, "gone", "its device has gone, and it is paused")
        } else {
          try await finishRemoval(row, within: .zero)
          note(name, "gone", "its device has gone, and it is removed")
        }
        watch.withLock { $0.problems[name] = nil }
      }
    } catch  where error.kind == .busy || error.kind == .cancelled {
      // Somebody has it open still.
      return
    } catch {
      // It is said once.
      let known = watch.withLock { watch in
        defer { watch.problems[name] = error.description }
        return watch.problems[name]
      }
      if known != error.description { log.warning("\(name): \(error)") }
    }
  }

  private func lookAtStores() async throws(BlockError) {
    let running = try journal.rows().filter { $0.state == SandboxState.running.rawValue }
    for (row, info) in zip(running, infos(running)) {
      let (wasAt, problem) = watch.withLock { watch in
        defer {
          watch.problems[row.name] = info.problem
          watch.marks[row.name] = Self.marks.last { $0 <= info.store.percent ?? 0 }
        }
        return (watch.marks[row.name] ?? 0, watch.problems[row.name])
      }
      if let mark = Self.marks.last(where: { $0 <= info.store.percent ?? 0 }), mark > wasAt {
        note(row.name, "watermark", "its store is \(info.store.percent ?? 0) % full")
      }
      if let found = info.problem, found != problem {
        note(row.name, info.store.quota == nil ? "invalid" : "full", found)
      }
    }
  }
}
