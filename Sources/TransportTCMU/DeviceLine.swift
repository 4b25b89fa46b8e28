import Glibc
import LinuxIO
import Synchronization

/// The line to the kernel: events come over it, and whoever has completed commands kicks; one call for all that are
/// done meanwhile.
final class DeviceLine: Sendable {
  private enum State {
    static let idle = 0
    /// Somebody is in the kernel.
    static let kicking = 1
    /// And has to go there once more.
    static let again = 2
  }

  private let state = Atomic<Int>(State.idle)
  private let device: Descriptor

  /// Makes a line of a device.
  init(_ device: consuming Descriptor) {
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
      // Who has asked until here has completed before, which the exchange makes visible to us.
      _ = state.exchange(State.kicking, ordering: .acquiringAndReleasing)
      let isThere = kick()
      let (isDone, _) = state.compareExchange(
        expected: State.kicking, desired: State.idle, ordering: .acquiringAndReleasing)
      if isDone { return isThere }
    }
  }

  /// Lets the kernel look at what was completed; it completes the commands within the call.
  ///
  /// - Returns: False if the device is gone.
  @inline(__always)
  private func kick() -> Bool {
    var value: UInt32 = 0
    while true {
      if write(device.raw, &value, 4) == 4 { return true }
      if errno != EINTR { return false }
    }
  }

  /// Takes note of the events so far; false if the device is gone.
  func readEvents() -> Bool {
    var count: UInt32 = 0
    while true {
      if read(device.raw, &count, 4) >= 0 { return true }
      switch errno {
      case EINTR: continue
      case EAGAIN: return true
      default: return false
      }
    }
  }
}
