import BlockCore
import CLinux
import Glibc

/// How the kernel chooses among threads that could run.
public enum ThreadPriority {
  /// `SCHED_RESET_ON_FORK` of linux/sched.h: threads and processes that this one starts are usual ones.
  private static let resetOnFork: Int32 = 0x4000_0000

  /// Puts the calling thread before all usual ones (`SCHED_RR`, sched(7)): for one that runs for a moment, seldom, and
  /// must not come late.
  ///
  /// - Throws: `permissionDenied` without CAP_SYS_NICE, others by errno.
  public static func raise() throws(BlockError) {
    var parameters = sched_param()
    parameters.sched_priority = 1
    guard sched_setscheduler(0, SCHED_RR | resetOnFork, &parameters) == 0 else {
      throw .lastErrno(step: "raise the priority of", object: "a thread")
    }
  }
}
