import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The owner of a file descriptor: one at a time, closed when it goes.
public struct Descriptor: ~Copyable, Sendable {
  /// The number, for system calls while the owner lives.
  public let raw: Int32

  /// Takes ownership of an open descriptor.
  public init(owning raw: Int32) {
    precondition(raw >= 0, "not a descriptor")
    self.raw = raw
  }

  // For a descriptor close() reports what an earlier write lost. Whoever writes asks for that with
  // close(step:object:) or fdatasync; what comes here was only read, or was given up.
  deinit { _ = Glibc.close(raw) }

  /// Closes it and says whether that went well.
  ///
  /// - Throws: By errno; the descriptor is gone in any case.
  public consuming func close(step: String, object: String) throws(BlockError) {
    let result = Glibc.close(raw)
    let code = errno
    discard self
    if result != 0 && code != EINTR {
      throw BlockError(errno: Errno(rawValue: code), step: step, object: object)
    }
  }

  /// Gives up ownership: the caller closes it.
  public consuming func release() -> Int32 {
    let raw = self.raw
    discard self
    return raw
  }

  /// Another descriptor of the same open file, closed on exec.
  ///
  /// - Parameter lowest: The lowest number that it may get.
  /// - Throws: By errno.
  public func duplicate(notBelow lowest: Int32 = 0) throws(BlockError) -> Descriptor {
    let copy = clinux_fcntl(raw, F_DUPFD_CLOEXEC, lowest)
    guard copy >= 0 else { throw .lastErrno(step: "duplicate", object: "descriptor \(raw)") }
    return Descriptor(owning: copy)
  }
}

extension Descriptor {
  /// Opens a path, closed on exec.
  ///
  /// - Parameters:
  ///   - path: What to open.
  ///   - flags: `O_RDONLY` and its like; `O_CLOEXEC` is added.
  ///   - mode: Permissions of a file that is created.
  ///   - step: What errors call the step.
  /// - Throws: By errno.
  public static func open(
    _ path: String, _ flags: Int32, mode: mode_t = 0o644, step: String = "open"
  ) throws(BlockError) -> Descriptor {
    guard !path.utf8.contains(0) else {
      throw BlockError(
        .invalidArgument, step: step, object: path, cause: "the path holds a NUL character",
        remedy: "Correct the path.")
    }
    while true {
      let raw = clinux_open(path, flags | O_CLOEXEC, mode)
      if raw >= 0 { return Descriptor(owning: raw) }
      if errno != EINTR { throw .lastErrno(step: step, object: path) }
    }
  }

  /// Opens a file that the engine has made for itself, or makes it; no symbolic link is followed, and what stands there
  /// instead, such as a FIFO, is not waited for.
  ///
  /// - Parameters: As of ``open(_:_:mode:step:)``.
  /// - Throws: `invalidArgument` if it is no regular file; by errno.
  public static func openOwn(
    _ path: String, _ flags: Int32, mode: mode_t = 0o600, step: String = "open"
  ) throws(BlockError) -> Descriptor {
    var named = stat()
    if lstat(path, &named) == 0, named.st_mode & S_IFMT != S_IFREG { throw .isNotRegular(path, step) }
    let descriptor = try open(path, flags | O_NOFOLLOW | O_NONBLOCK, mode: mode, step: step)
    // It may have been changed between the two.
    guard fstat(descriptor.raw, &named) == 0, named.st_mode & S_IFMT == S_IFREG else {
      throw .isNotRegular(path, step)
    }
    return descriptor
  }
}

extension BlockError {
  /// The error of the system call that failed last on this thread.
  static func lastErrno(step: String, object: String, remedy: String? = nil) -> BlockError {
    BlockError(errno: Errno(rawValue: Glibc.errno), step: step, object: object, remedy: remedy)
  }

  fileprivate static func isNotRegular(_ path: String, _ step: String) -> BlockError {
    BlockError(
      .invalidArgument, step: step, object: path,
      cause: "it is not a regular file, and only this engine's own may be there",
      remedy: "See what it is, and move it away.")
  }
}
