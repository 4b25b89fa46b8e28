import Attachments
import BlockCore
import LinuxIO

// A manager that says nothing is not waited for without an end; one that is there and works is.
extension APIClient {
  /// What a manager has said: a status of HTTP, and the body.
  typealias Answer = (status: UInt, body: [UInt8])

  /// How many times as long a manager may take that does answer meanwhile, but not what was asked.
  private static let slowness = 6

  /// Runs an exchange until it is over, or its time is.
  func answer(
    within patience: Patience, _ exchange: @escaping @Sendable () async throws(BlockError) -> Answer
  ) async throws(BlockError) -> Answer {
    // Each connection costs the manager time, so it is not asked who it is.
    let manager = FileLock.lastNote(of: directories.lock)?.pid
    let outcome: Result<Answer, BlockError>? = await withTaskGroup(of: Result<Answer, BlockError>?.self) {
      group in
      group.addTask {
        do throws(BlockError) {
          return .success(try await exchange())
        } catch {
          return .failure(error)
        }
      }
      group.addTask { await reasonToGiveUp(patience, manager).map { .failure($0) } }
      var first: Result<Answer, BlockError>?
      for await outcome in group where first == nil {
        first = outcome
        group.cancelAll()
      }
      return first
    }
    guard let outcome else {
      throw BlockError(.cancelled, step: "speak to", object: "the manager", cause: "the task was cancelled")
    }
    return try outcome.get()
  }

  /// Whether the manager is in a PID namespace of its own: what it has noted of itself is another process here.
  private var isElsewhere: Bool { (try? UnixStream.listener(at: directories.apiSocket)) == .process(0) }

  /// The ID of the process that listens now; `nil` if that cannot be seen, or it is none of our PID namespace.
  public var listenerID: Int32? {
    guard case .process(let pid)? = try? UnixStream.listener(at: directories.apiSocket), pid > 0 else {
      return nil
    }
    return pid
  }

  /// Waits until the manager is to be given up, and says why; `nil` if the task is cancelled before.
  ///
  /// - Parameter manager: Whom the exchange is with.
  private func reasonToGiveUp(_ patience: Patience, _ manager: Int32?) async -> BlockError? {
    let clock = LinuxClock()
    do {
      let end = clock.now + timeout * Self.slowness
      repeat {
        let next = clock.now + timeout / 2
        while clock.now < next {
          try await clock.sleep(for: min(next - clock.now, .seconds(1)))
          if let manager, ProcessIdentity.isOnlyLeft(manager), !isElsewhere { return Self.ended(manager) }
        }
      } while await isThere() && (patience == .long || clock.now < end)
      return Task.isCancelled ? nil : silence()
    } catch {
      // The answer has come.
      return nil
    }
  }

  /// A disk that does not answer keeps what is left of a process in the kernel, and its connections with it.
  private static func ended(_ manager: Int32) -> BlockError {
    BlockError(
      .disconnected, step: "speak to", object: "the manager (process \(manager))",
      cause: "it has ended before it answered, and waits in the kernel",
      remedy: "See /proc/\(manager)/task/*/stack for what it waits for, and try again.")
  }

  /// Whether the manager answers something; one that is gone ends the exchange by itself.
  private func isThere() async -> Bool {
    let clock = LinuxClock()
    return await withTaskGroup(of: Bool.self) { group in
      group.addTask {
        do throws(BlockError) {
          _ = try await exchange(.get, "/v1/status", body: nil)
          return true
        } catch {
          return error.kind == .disconnected
        }
      }
      group.addTask {
        do {
          try await clock.sleep(for: timeout / 2)
          return false
        } catch {
          // It has answered.
          return true
        }
      }
      let first = await group.next() ?? true
      group.cancelAll()
      return first
    }
  }

  /// What is to be said of a manager that does not answer, and what helps.
  func silence() -> BlockError {
    let manager = FileLock.holder(of: directories.lock)?.process
    // One that cannot be asked is not known by this; the lock's file tells, too.
    if manager == nil, let pid = listenerID {
      return BlockError(
        .timedOut, step: "speak to", object: "process \(pid) at \(directories.apiSocket)",
        cause:
          "it has not answered within \(timeout), and does not hold the lock of this instance: it is no manager",
        remedy: "End that process, or remove \(directories.apiSocket), and try again.")
    }
    let isStopped = manager?.isStopped ?? false
    let name = manager.map { " (process \($0.pid))" } ?? ""
    let resume =
      isStopped ? "Let it go on: kill -CONT \(manager?.pid ?? 0); or end it" : "If it hangs, end it"
    return BlockError(
      .timedOut, step: "speak to", object: "the manager\(name)",
      cause: isStopped ? "it is stopped" : "it has not answered within \(timeout)",
      remedy: "\(resume): ashlar daemon stop --force. Devices stay, and the next command starts another one.")
  }
}
