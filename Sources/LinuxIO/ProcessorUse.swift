import CLinux
import Glibc

/// How long the process has used processors until a moment, by `CLOCK_PROCESS_CPUTIME_ID`; in seconds.
struct ProcessorUse {
  private static let processorCount = Double(clinux_processor_count())

  private let used: Double
  private let moment: Double

  static var now: ProcessorUse {
    ProcessorUse(used: seconds(CLOCK_PROCESS_CPUTIME_ID), moment: seconds(CLOCK_MONOTONIC))
  }

  /// What part of all processors' time it was since an earlier moment, from 0 to 1.
  func share(since earlier: ProcessorUse) -> Double {
    (used - earlier.used) / max(moment - earlier.moment, 1e-6) / Self.processorCount
  }

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
