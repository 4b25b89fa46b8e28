import BlockCore
import Glibc
import LinuxIO
import Logging

/// What the service's thread does: serves one connection after the other, and takes orders meanwhile.
///
/// It is made on that thread and stays there.
final class ServiceThread {
  /// The waits between attempts to get back to a bus that has gone.
  private static let firstDelay = Duration.milliseconds(100)
  private static let lastDelay = Duration.seconds(5)

  private let address: String?
  private let checks: ConfigChecks
  private let mailbox: Mailbox
  private let log: Logger
  /// The handlers of this process, which outlast a connection.
  private var handlers: [HandlerSubtype: HandlerDescription] = [:]
  private var session: BusSession?
  private var delay = ServiceThread.firstDelay
  private var nextAttempt = ContinuousClock.now
  /// Why there was no connection the last time.
  private var reason: BlockError.Kind?

  init(
    address: String?, handlers: [HandlerDescription], checks: ConfigChecks, mailbox: Mailbox, log: Logger
  ) {
    self.address = address
    self.checks = checks
    self.mailbox = mailbox
    self.log = log
    for handler in handlers { self.handlers[handler.subtype] = handler }
  }

  /// Serves until it is told to stop.
  ///
  /// - Parameters:
  ///   - waitsForBus: Whether a bus that is not there yet is no reason to end.
  ///   - onStart: Called once, with the error if there is no service.
  func run(waitsForBus: Bool, onStart: (BlockError?) -> Void) {
    defer { mailbox.close() }
    do throws(BlockError) {
      try connect()
    } catch {
      guard waitsForBus, error.kind == .unavailable else { return onStart(error) }
      lose(error)
    }
    onStart(nil)
    while takeOrders() {
      do throws(BlockError) {
        if let session {
          try serve(session)
        } else {
          try waitAndConnect()
        }
      } catch {
        lose(error)
      }
    }
    session?.end()
  }

  private func connect() throws(BlockError) {
    session = try BusSession(
      address: address, handlers: Array(handlers.values), checks: checks, mailbox: mailbox, log: log
    )
    delay = Self.firstDelay
  }

  private func serve(_ session: BusSession) throws(BlockError) {
    try session.process()
    let interest = try session.interest()
    try Readiness.wait(for: [(mailbox.raw, Int16(POLLIN)), interest.descriptor], atMost: interest.limit)
  }

  private func waitAndConnect() throws(BlockError) {
    try Readiness.wait(for: [(mailbox.raw, Int16(POLLIN))], atMost: nextAttempt - .now)
    guard ContinuousClock.now >= nextAttempt else { return }
    try connect()
    log.notice("the D-Bus service is there")
  }

  /// The connection is lost, or there is none yet again.
  private func lose(_ error: BlockError) {
    // The same line for every attempt would fill the log.
    let isNews = session != nil || error.kind != reason
    log.log(level: isNews ? .warning : .debug, "the D-Bus service is away and will come back: \(error)")
    session = nil
    reason = error.kind
    nextAttempt = .now + delay
    delay = min(delay * 2, Self.lastDelay)
  }

  // MARK: Orders

  /// Does what was asked; `false` when that was to stop.
  private func takeOrders() -> Bool {
    var goesOn = true
    for letter in mailbox.take() {
      do throws(BlockError) {
        switch letter.order {
        case .add(let handler): try add(handler)
        case .remove(let subtype): try remove(subtype)
        case .answer(let call, let check): session?.answer(call, check)
        case .stop: goesOn = false
        }
        letter.done(nil)
      } catch {
        letter.done(error)
      }
    }
    return goesOn
  }

  private func add(_ handler: HandlerDescription) throws(BlockError) {
    guard handlers[handler.subtype] == nil else { throw BusSession.conflict(handler.subtype) }
    try session?.export(handler, isExternal: false)
    handlers[handler.subtype] = handler
  }

  private func remove(_ subtype: HandlerSubtype) throws(BlockError) {
    guard handlers.removeValue(forKey: subtype) != nil else {
      throw BlockError(
        .notFound, step: "remove the handler", object: "\(subtype)", cause: "there is none of that name")
    }
    session?.withdraw(subtype)
  }
}
