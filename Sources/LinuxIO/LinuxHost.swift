import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The clocks of this host.
public struct LinuxClock: HostClock {
  /// Makes the one view there is.
  public init() {}

  public var now: Duration { Self.time(of: CLOCK_MONOTONIC) }

  public var sinceEpoch: Duration { Self.time(of: CLOCK_REALTIME) }

  public func sleep(until moment: Duration) async throws {
    let rest = moment - now
    if rest > .zero { try await Task.sleep(for: rest) }
  }

  private static func time(of clock: clockid_t) -> Duration {
    var time = timespec()
    // It cannot fail for these two clocks and a valid pointer (clock_gettime(2)).
    clock_gettime(clock, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }
}

/// The kernel's random numbers.
public struct LinuxRandom: RandomSource {
  /// Makes the one source there is.
  public init() {}

  public func next() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
  }
}

extension HostServices {
  /// The services of this host.
  public static var linux: HostServices {
    HostServices(files: LinuxFileSystem(), clock: LinuxClock(), random: LinuxRandom())
  }
}

/// This process.
public enum LinuxProcess {
  /// How many files a process that is started here may have open at most.
  public static var openFileLimit: Int {
    var limit = rlimit()
    return getrlimit(clinux_RLIMIT_NOFILE, &limit) == 0 ? Int(clamping: limit.rlim_max) : 0
  }

  /// Has as many files open at one time as this process may at most.
  ///
  /// - Returns: How many that are.
  @discardableResult
  public static func raiseOpenFileLimit() -> Int {
    var limit = rlimit()
    guard getrlimit(clinux_RLIMIT_NOFILE, &limit) == 0 else { return 1024 }
    if limit.rlim_cur < limit.rlim_max {
      let soft = limit.rlim_cur
      limit.rlim_cur = limit.rlim_max
      // It raises the soft limit to the hard one, which everyone may do.
      if setrlimit(clinux_RLIMIT_NOFILE, &limit) != 0 { limit.rlim_cur = soft }
    }
    return Int(clamping: limit.rlim_cur)
  }

  /// Has the kernel make the table of this process's descriptors large enough for some hundred.
  ///
  /// To be called while there is one thread. When the table of several grows, the kernel waits until no processor reads the
  /// old one (`expand_fdtable()` in fs/file.c, `synchronize_rcu()`), which takes some milliseconds.
  public static func makeRoomForDescriptors() {
    // What cannot be had now is waited for later.
    guard let null = try? Descriptor.open("/dev/null", O_RDONLY) else { return }
    // As high as the lowest one that a FUSE connection gets (`FUSEExport`).
    _ = try? null.duplicate(notBelow: 512)
  }

  /// Has files as large as this process may at most (RLIMIT_FSIZE): whoever started it had a limit for files of his
  /// own, and what is written here are disks.
  ///
  /// Processes that it starts inherit that.
  ///
  /// - Throws: `permissionDenied` if there is a limit still: one that only CAP_SYS_RESOURCE may raise.
  public static func raiseFileSizeLimit() throws(BlockError) {
    var limit = rlimit()
    let infinity = rlim_t.max
    guard getrlimit(clinux_RLIMIT_FSIZE, &limit) == 0, limit.rlim_cur != infinity else { return }
    var wanted = rlimit(rlim_cur: infinity, rlim_max: infinity)
    if setrlimit(clinux_RLIMIT_FSIZE, &wanted) == 0 { return }
    let error = BlockError.lastErrno(step: "raise", object: "the limit of the size of files")
    limit.rlim_cur = limit.rlim_max
    guard setrlimit(clinux_RLIMIT_FSIZE, &limit) == 0, limit.rlim_cur == infinity else { throw error }
  }

  /// Asks the kernel to choose nearly any other process before this one when memory runs out: disks depend on it.
  ///
  /// Processes that it starts inherit that.
  ///
  /// - Throws: `permissionDenied` without CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)).
  public static func goLastWhenMemoryIsShort() throws(BlockError) {
    try LinuxFileSystem.write("-900", toAttribute: "/proc/self/oom_score_adj")
  }

  /// Asks the kernel to choose this process before any other when memory runs out, as long as nothing depends on it.
  ///
  /// - Returns: What was set before, for ``goLastWhenMemoryIsShort(orAs:)``.
  /// - Throws: By errno.
  public static func goFirstWhenMemoryIsShort() throws(BlockError) -> String {
    let before = SmallFile.text("/proc/self/oom_score_adj") ?? "0"
    try LinuxFileSystem.write("1000", toAttribute: "/proc/self/oom_score_adj")
    return before
  }

  /// As ``goLastWhenMemoryIsShort()``; without the right to that, what was set before comes back.
  ///
  /// - Throws: By errno.
  public static func goLastWhenMemoryIsShort(orAs before: String) throws(BlockError) {
    do throws(BlockError) {
      try goLastWhenMemoryIsShort()
    } catch {
      try LinuxFileSystem.write(before, toAttribute: "/proc/self/oom_score_adj")
    }
  }
}
