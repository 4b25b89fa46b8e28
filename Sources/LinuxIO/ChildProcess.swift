import BlockCore
import CLinux
import Glibc
import SystemPackage

/// Starting programs that outlive us, and knowing them again.
public enum ChildProcess {
  /// What a program gets at its start.
  public struct Launch: Sendable {
    /// The program's path.
    public var program: String
    /// Its arguments, without the program's name.
    public var arguments: [String]
    /// The descriptors that it gets: by their number there, ours.
    ///
    /// Those above are closed; of 0, 1 and 2 it gets ours if nothing else is said.
    public var descriptors: [Int32: Int32]

    /// Makes a launch; the parameters are those of the properties.
    public init(program: String, arguments: [String], descriptors: [Int32: Int32]) {
      self.program = program
      self.arguments = arguments
      self.descriptors = descriptors
    }
  }

  /// Starts a program in a session of its own, with our environment and `/` as its directory.
  ///
  /// - Returns: Its process ID.
  /// - Throws: By errno: `notFound` if the program is not there.
  public static func start(_ launch: Launch) throws(BlockError) -> Int32 {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    posix_spawnattr_setflags(&attributes, Int16(clinux_SPAWN_FLAGS))
    // Signals as a new program expects them, whatever we have set for ourselves.
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    let highest = launch.descriptors.keys.max() ?? 2
    // Copies above all that the child gets: one of ours may have a number that another one gets there.
    let copies = try Copies(launch.descriptors, above: highest)
    defer { copies.close() }
    for (theirs, copy) in copies.numbers { posix_spawn_file_actions_adddup2(&actions, copy, theirs) }
    // What whoever started us left open without close-on-exec is not to live on in a daemon.
    clinux_spawn_close_from(&actions, highest + 1)
    clinux_spawn_chdir(&actions, "/")

    var arguments: [UnsafeMutablePointer<CChar>?] = ([launch.program] + launch.arguments).map { strdup($0) }
    defer { for argument in arguments { free(argument) } }
    arguments.append(nil)
    var pid: pid_t = 0
    let code = posix_spawn(&pid, launch.program, &actions, &attributes, arguments, clinux_environment())
    guard code == 0 else {
      throw BlockError(errno: Errno(rawValue: code), step: "start", object: launch.program)
    }
    return pid
  }

  /// Copies of descriptors, by the numbers that a child is to get them by.
  private struct Copies {
    private(set) var numbers: [(theirs: Int32, copy: Int32)] = []

    init(_ descriptors: [Int32: Int32], above highest: Int32) throws(BlockError) {
      for (theirs, ours) in descriptors {
        let copy = clinux_fcntl(ours, F_DUPFD_CLOEXEC, highest + 1)
        guard copy >= 0 else {
          let error = BlockError.lastErrno(step: "duplicate", object: "descriptor \(ours)")
          close()
          throw error
        }
        numbers.append((theirs, copy))
      }
    }

    func close() {
      for (_, copy) in numbers { Glibc.close(copy) }
    }
  }

  /// How a child ended.
  public enum End: Sendable, CustomStringConvertible {
    /// It exited with a status.
    case exited(Int32)
    /// A signal ended it.
    case signalled(Int32)
    /// It is not our child, so that nobody tells us.
    case unknown

    /// Whether it exited with status 0.
    public var isSuccess: Bool { if case .exited(0) = self { true } else { false } }

    public var description: String {
      switch self {
      case .exited(let status): "it exited with status \(status)"
      case .signalled(let number): "it was ended by signal \(number) (\(String(cString: strsignal(number))))"
      case .unknown: "it ended"
      }
    }
  }

  /// Whether a process is a child of ours that nobody has waited for yet.
  public static func isOurs(_ pid: Int32) -> Bool {
    var information = siginfo_t()
    return waitid(P_PID, id_t(pid), &information, WEXITED | WNOHANG | WNOWAIT) == 0
  }

  /// Takes note of a child's end, if it is one and has ended.
  public static func collect(_ pid: Int32) {
    // It fails for what is no child, of which there is nothing to take note.
    waitpid(pid, nil, WNOHANG)
  }

  /// Goes over to another program in this process, which keeps its ID, its children, the descriptors 0 to
  /// 2, and one more.
  ///
  /// - Parameters:
  ///   - program: The program's path.
  ///   - arguments: Its arguments, without the program's name.
  ///   - kept: The descriptor that stays open.
  /// - Returns: Only if that is not possible: the error.
  public static func replaceOurselves(
    _ program: String, _ arguments: [String], keeping kept: Int32
  ) -> BlockError {
    var list: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
    list.append(nil)
    clinux_replace_program(program, list, kept)
    return .lastErrno(step: "go over to", object: program)
  }

  /// Waits, on the calling thread, until a child has ended, or a moment of ``LinuxClock`` has come.
  ///
  /// - Returns: How it ended; `nil` if it still runs.
  /// - Throws: By errno.
  static func waitForEnd(of pid: Int32, until moment: Duration) throws(BlockError) -> End? {
    let raw = clinux_pidfd_open(pid)
    guard raw >= 0 else { throw .lastErrno(step: "watch", object: "process \(pid)") }
    let descriptor = Descriptor(owning: raw)
    while true {
      var information = siginfo_t()
      // It is ours, and fails for no other reason than an end that somebody else has taken note of.
      if waitid(P_PID, id_t(pid), &information, WEXITED | WNOHANG | WNOWAIT) != 0 { return .unknown }
      if clinux_waited_pid(&information) == pid { return waitForEnd(of: pid) }
      let left = moment - LinuxClock().now
      guard left > .zero else { return nil }
      try Readiness.wait(for: [(descriptor.raw, Int16(POLLIN))], atMost: left)
    }
  }

  /// Waits, on the calling thread, until a child has ended.
  public static func waitForEnd(of pid: Int32) -> End {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 {
      if errno != EINTR { return .unknown }
    }
    let signal = status & 0x7F
    return signal == 0 ? .exited((status >> 8) & 0xFF) : .signalled(signal)
  }
}

/// A process, told from a later one that gets the same number.
public struct ProcessIdentity: Sendable, Hashable, Codable {
  /// The process ID.
  public let pid: Int32
  /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
  public let startTime: UInt64

  /// `PF_EXITING` of linux/sched.h: it is about to be gone, or gone and not yet waited for.
  private static let exiting: UInt32 = 0x4

  /// The process that has an ID now; `nil` if there is none, or only what is left of one.
  public init?(pid: Int32) {
    guard let fields = Self.fields(of: pid), let startTime = UInt64(fields[19]),
      !Self.isEnding(fields) || Self.hasOtherThread(pid)
    else { return nil }
    self.pid = pid
    self.startTime = startTime
  }

  /// Whether a process runs nothing of its program any more: it has ended or was killed, and what is left of it is kept in
  /// the kernel, by a disk that does not answer.
  ///
  /// `false` if that cannot be seen.
  public static func isOnlyLeft(_ pid: Int32) -> Bool {
    let (isOnlyLeft, failed) = FailedReads.during {
      fields(of: pid).map(isEnding) ?? false
        && SmallFile.entries("/proc/\(pid)/task").compactMap(Int32.init).allSatisfy { thread in
          fields(of: thread).map(isEnding) ?? true || isKilled(thread)
        }
    }
    return isOnlyLeft && failed == nil
  }

  /// Whether a thread ends before it comes back from the kernel: a SIGKILL waits for it.
  private static func isKilled(_ thread: Int32) -> Bool {
    let lines = SmallFile.text("/proc/\(thread)/status")?.split(separator: "\n") ?? []
    let pending = lines.first { $0.hasPrefix("SigPnd:") }?.split(separator: "\t").last.flatMap {
      UInt64($0, radix: 16)
    }
    return pending.map { $0 & 1 << (SIGKILL - 1) != 0 } ?? false
  }

  private static func isEnding(_ fields: [Substring]) -> Bool {
    UInt32(fields[6]).map { $0 & exiting != 0 } ?? true
  }

  /// Whether a process whose first thread has ended has another one: one that was killed, and waits in the kernel.
  private static func hasOtherThread(_ pid: Int32) -> Bool {
    SmallFile.entries("/proc/\(pid)/task").compactMap(Int32.init).contains { thread in
      thread != pid && fields(of: thread).map { !isEnding($0) } ?? false
    }
  }

  /// The fields of `/proc/PID/stat` behind the name, which may hold anything: the third and all that follow.
  ///
  /// - Returns: At least 20 of them; `nil` if there is no such process.
  static func fields(of pid: Int32) -> [Substring]? {
    guard let text = SmallFile.text("/proc/\(pid)/stat"), let close = text.lastIndex(of: ")") else {
      return nil
    }
    let fields = text[text.index(after: close)...].split(separator: " ")
    return fields.count > 19 ? fields : nil
  }

  /// Whether it is stopped, by a signal or by who traces it.
  public var isStopped: Bool {
    let state = Self.fields(of: pid)?.first
    return (state == "T" || state == "t") && isAlive
  }

  /// The one that was noted so: whether it runs still, ``isAlive`` tells.
  public init(pid: Int32, startTime: UInt64) {
    self.pid = pid
    self.startTime = startTime
  }

  /// Whether it still runs; one that cannot be looked at does, as long as there is one of its number.
  public var isAlive: Bool {
    let (now, failed) = FailedReads.during { ProcessIdentity(pid: pid) }
    if now == self { return true }
    return failed != nil && (Glibc.kill(pid, 0) == 0 || errno != ESRCH)
  }

  /// Ends it at once (SIGKILL), if it still runs.
  public func kill() { send(SIGKILL) }

  /// Sends it a signal, if it still runs.
  public func send(_ signal: Int32) {
    let descriptor = clinux_pidfd_open(pid)
    guard descriptor >= 0 else { return }
    let owner = Descriptor(owning: descriptor)
    // The descriptor holds the number; only then does the start time tell who it is.
    guard isAlive else { return }
    clinux_pidfd_signal(owner.raw, signal)
  }
}
