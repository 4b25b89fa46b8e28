import BlockCore
import CSystemd
import Logging
import Synchronization

/// The calls of clients that wait for an answer that this thread does not have yet.
struct PendingCalls {
  /// A call that waits for a check by this process.
  private final class Check {
    let deadline: ContinuousClock.Instant
    /// `nil` when it was answered without waiting for the check any longer.
    var call: BusMessage?

    init(_ call: consuming BusMessage, _ deadline: ContinuousClock.Instant) {
      self.deadline = deadline
      self.call = consume call
    }
  }

  /// A call that waits for what somebody else on the bus answers.
  final class Question {
    /// What was asked.
    enum Purpose {
      /// Whether the handler's process finds its configuration valid.
      case check(HandlerSubtype)
      /// Whether the process of a handler that registers has its name.
      case registration(HandlerDescription)
    }

    let purpose: Purpose
    let call: BusMessage
    private let slot: BusSlot

    init(_ purpose: Purpose, for call: consuming BusMessage, _ slot: consuming BusSlot) {
      self.purpose = purpose
      self.call = call
      self.slot = slot
    }
  }

  private var checks: [UInt64: Check] = [:]
  /// The number of the last check; of the process, so that the outcome of one that a lost connection asked for is not
  /// taken for another's.
  private static let lastCheck = Atomic<UInt64>(0)
  private var questions: [UInt64: Question] = [:]

  /// Whether there are as many as there may be.
  var isFull: Bool { checks.count + questions.count >= Limits.pendingBusCalls }

  // MARK: Checks by this process

  /// Notes a call that a check will answer; returns its number.
  mutating func add(_ call: consuming BusMessage, limit: Duration) -> UInt64 {
    let number = Self.lastCheck.wrappingAdd(1, ordering: .relaxed).newValue
    checks[number] = Check(call, .now + limit)
    return number
  }

  /// The call of a number, whose check has ended; `nil` if it has been answered.
  mutating func takeCall(of check: UInt64) -> BusMessage? {
    checks.removeValue(forKey: check)?.call.take()
  }

  /// When the next check is overdue.
  var nextDeadline: ContinuousClock.Instant? {
    checks.values.lazy.filter { $0.call != nil }.map(\.deadline).min()
  }

  /// Answers the calls whose checks are overdue.
  ///
  /// They still count, for their checks still run.
  func expire(_ log: Logger) {
    let now = ContinuousClock.now
    for check in checks.values where check.deadline <= now {
      guard let call = check.call.take() else { continue }
      call.answer(.invalid("the check takes too long"), log)
    }
  }

  // MARK: Questions to others

  /// Notes a question that has been sent.
  mutating func add(_ question: Question, cookie: UInt64) { questions[cookie] = question }

  /// The question that was sent with a number, now that there is an answer.
  mutating func takeQuestion(_ cookie: UInt64) -> Question? { questions.removeValue(forKey: cookie) }
}

extension BusMessage {
  /// Answers this call with a truth value and a text.
  ///
  /// What goes wrong is logged: there is nobody else to tell.
  func answer(_ check: ConfigCheck, _ log: Logger) {
    do throws(BlockError) {
      let reply = try reply()
      try reply.append(check.isValid)
      try reply.append(check.message)
      try reply.send()
    } catch {
      log.warning("\(error)")
    }
  }
}
