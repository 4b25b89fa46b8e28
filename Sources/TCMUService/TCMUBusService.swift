import BlockCore
import LinuxIO
import Logging
import Synchronization

/// The service `org.kernel.TCMUService1` on the system's message bus, as tcmu-runner offers it and targetcli
/// asks for it.
///
/// For each handler there is an object with the method `CheckConfig` and the property `ConfigDesc`; an object
/// manager lists them. Other processes may register handlers of their own (RegisterHandler of the object
/// HandlerManager1). One thread speaks to the bus. When the bus goes, the service comes back with it.
public final class TCMUBusService: Sendable {
  /// Says whether a device can be made of a configuration string, which is `subtype/rest` and has at most
  /// ``Limits/backstoreConfigBytes``.
  ///
  /// Called for several strings at the same time, on threads that may wait in system calls.
  public typealias ConfigChecker = @Sendable (String) async -> ConfigCheck

  private let mailbox: Mailbox
  /// `nil` once it was waited for.
  private let thread: Mutex<WorkerThread?>
  private let isStopped = Atomic<Bool>(false)

  private init(_ mailbox: Mailbox, _ thread: consuming WorkerThread) {
    self.mailbox = mailbox
    self.thread = Mutex(thread)
  }

  /// Connects to the bus, shows the handlers and takes the service's name.
  ///
  /// ``stop()`` has to be called before the service is let go.
  ///
  /// - Parameters:
  ///   - address: Of another bus than the system's, as `DBUS_SYSTEM_BUS_ADDRESS` has it.
  ///   - handlers: What there is from the beginning; subtypes that differ.
  ///   - checkConfig: Answers for these handlers, and for those that are added.
  ///   - checkLimit: How long a check may take, also another process's, before its caller is told so; the usual
  ///     clients wait for 25 s.
  ///   - waitsForBus: Whether a bus that is not there yet is waited for in the background.
  ///   - log: For handlers that come and go, and for a bus that does.
  /// - Throws: `busy` if somebody, likely tcmu-runner, has the name; `unavailable` if there is no bus to wait for;
  ///   `permissionDenied` if the bus's policy forbids the name.
  public static func start(
    address: String? = nil, handlers: [HandlerDescription], checkConfig: @escaping ConfigChecker,
    checkLimit: Duration = .seconds(20), waitsForBus: Bool = false, log: Logger
  ) async throws(BlockError) -> TCMUBusService {
    let mailbox = try Mailbox()
    let checks = ConfigChecks(
      check: checkConfig, limit: checkLimit, executor: BlockingExecutor(label: "tcmu-checks"))
    let (outcomes, outcome) = AsyncStream.makeStream(of: BlockError?.self)
    let thread = try WorkerThread(name: "tcmu-dbus") {
      let service = ServiceThread(
        address: address, handlers: handlers, checks: checks, mailbox: mailbox, log: log)
      service.run(waitsForBus: waitsForBus) { error in
        outcome.yield(error)
        outcome.finish()
      }
    }
    var failure: BlockError?
    for await error in outcomes {
      failure = error
      break
    }
    if let failure {
      thread.join()
      throw failure
    }
    return TCMUBusService(mailbox, thread)
  }

  /// Shows another handler.
  ///
  /// - Throws: `conflict` if there is one of that subtype.
  public func add(_ handler: HandlerDescription) async throws(BlockError) {
    try await mailbox.ask(.add(handler))
  }

  /// Shows a handler no more.
  ///
  /// - Throws: `notFound` if there is none of that subtype, or it is another process's.
  public func remove(_ subtype: HandlerSubtype) async throws(BlockError) {
    try await mailbox.ask(.remove(subtype))
  }

  /// Gives the name back and ends; to be called once.
  ///
  /// Calls that wait for an answer get none.
  public func stop() async {
    guard !isStopped.exchange(true, ordering: .relaxed) else { return }
    await withCheckedContinuation { continuation in
      mailbox.post(.stop) { _ in continuation.resume() }
    }
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
  }
}

/// How configurations are checked.
struct ConfigChecks: Sendable {
  let check: TCMUBusService.ConfigChecker
  /// How long one may take.
  let limit: Duration
  /// Where they run.
  let executor: BlockingExecutor
}
