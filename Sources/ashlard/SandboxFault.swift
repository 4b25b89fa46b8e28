import BlockCore
import Glibc
import Logging
import Synchronization

/// A failure, or our sudden end, at one step of the sandboxes: what tests of recovery ask for.
enum SandboxFault {
  /// What to do at every step for an option `STEP:kill` or `STEP:fail`; nothing without one.
  ///
  /// It happens once, and is logged before.
  ///
  /// - Parameters:
  ///   - option: The option; its STEP is a number, counted from 1, or the first step of that name.
  ///   - log: Where to say so.
  /// - Throws: `invalidArgument` for anything else.
  static func steps(
    _ option: String?, log: Logger
  ) throws(BlockError) -> @Sendable (String) throws(BlockError) -> Void {
    guard let option else { return { _ throws(BlockError) in } }
    let parts = option.split(separator: ":")
    guard parts.count == 2, parts[1] == "kill" || parts[1] == "fail" else {
      throw BlockError(
        .invalidArgument, step: "use the fault", object: option, cause: "it is not STEP:kill or STEP:fail")
    }
    let number = Int(parts[0])
    let name = String(parts[0])
    let isKill = parts[1] == "kill"
    let count = Counter()
    let matches = Counter()
    return { step throws(BlockError) in
      let current = count.next()
      guard number.map({ $0 == current }) ?? (step == name && matches.next() == 1) else { return }
      log.notice("the fault at step \(current): \(step)")
      if isKill { kill(getpid(), SIGKILL) }
      throw BlockError(.ioError, step: "take the step", object: step, cause: "a test has made it fail")
    }
  }

  private final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    func next() -> Int { value.add(1, ordering: .relaxed).newValue }
  }
}
