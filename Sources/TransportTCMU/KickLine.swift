import Synchronization

/// Kicks the kernel for whoever has completed commands: one call for all that are done meanwhile.
final class KickLine: Sendable {
  private enum State {
    static let idle = 0
    /// Somebody is in the kernel.
    static let kicking = 1
    /// And has to go there once more.
    static let again = 2
  }

  private let state = Atomic<Int>(State.idle)
  /// The device that is kicked.
  let device: UIODevice

  /// Makes a line of a device.
  init(_ device: consuming UIODevice) {
    self.device = device
  }

  /// Sees to it that the kernel looks at everything that was completed before this call, by the caller or by
  /// whoever is there already.
  ///
  /// - Returns: False if the device was found to be gone.
  @inline(__always)
  func request() -> Bool {
    if state.exchange(State.again, ordering: .acquiringAndReleasing) != State.idle { return true }
    while true {
      state.store(State.kicking, ordering: .sequentiallyConsistent)
      let isThere = device.kick()
      let (isDone, _) = state.compareExchange(
        expected: State.kicking, desired: State.idle, ordering: .acquiringAndReleasing)
      if isDone { return isThere }
    }
  }
}
