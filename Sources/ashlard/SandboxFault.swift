import BlockCore
import Glibc
import Synchronization

/// A failure, or our sudden end, at one step of the sandboxes: what tests of recovery ask for.
enum SandboxFault {
  /// What to do at every step for an option `NUMBER:kill` or `NUMBER:fail`; nothing without one.
  ///
  /// - Throws: `invalidArgument` for anything else.
  static func steps(_ option: String?) throws(BlockError) -> @Sendable (String) throws(BlockError) -> Void {
    guard let option else { return { _ throws(BlockError) in } }
    let parts = option.split(separator: ":")
    guard parts.count == 2, let number = Int(parts[0]), parts[1] == "kill" || parts[1] == "fail" else {
      throw BlockError(
        .invalidArgument, step: "use the fault", object: option, cause: "it is not NUMBER:kill or NUMBER:fail"
      )
    }
    let isKill = parts[1] == "kill"
    let count = Counter()
    return { step throws(BlockError) in
      guard count.next() == number else { return }
      if isKill { kill(getpid(), SIGKILL) }
      throw BlockError(.ioError, step: "take the step", object: step, cause: "a test has made it fail")
    }
  }

  private final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    func next() -> Int { value.add(1, ordering: .relaxed).newValue }
  }
}
