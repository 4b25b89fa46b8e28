import BlockCore
import CLinux
import Glibc

extension ChildProcess {
  /// What became of a program that was asked something.
  public struct Answer: Sendable {
    /// How it ended.
    public let end: End
    /// What it wrote to its standard output.
    public let output: [UInt8]
  }

  /// Runs a program and waits, on the calling thread, for what it writes and for its end.
  ///
  /// A program that takes too long, or writes too much, is killed.
  ///
  /// - Parameters:
  ///   - program: Its path.
  ///   - arguments: Its arguments, without the program's name.
  ///   - limit: Bytes of output that are wanted at most.
  ///   - deadline: How long it may take.
  /// - Throws: `timedOut` or `exhausted` if it was killed; as ``start(_:)``.
  public static func ask(
    _ program: String, _ arguments: [String], limit: Int, deadline: Duration
  ) throws(BlockError) -> Answer {
    var ends: [Int32] = [-1, -1]
    guard clinux_pipe(&ends) == 0 else { throw .lastErrno(step: "make", object: "a pipe") }
    let reader = Descriptor(owning: ends[0])
    let writer = Descriptor(owning: ends[1])
    // Programs do not expect an output that is full for a moment.
    guard clinux_fcntl(writer.raw, F_SETFL, 0) == 0 else {
      throw .lastErrno(step: "set up", object: "a pipe")
    }
    let pid = try start(.init(program: program, arguments: arguments, descriptors: [1: writer.raw, 2: 2]))
    // Only the program may hold it, or its end would never show.
    try writer.close(step: "close", object: "a pipe")
    let moment = LinuxClock().now + deadline
    do throws(BlockError) {
      let output = try read(from: reader, limit: limit, until: moment, object: program)
      // It may live on without an output.
      guard let end = try waitForEnd(of: pid, until: moment) else { throw late(program) }
      return Answer(end: end, output: output)
    } catch {
      // It is our child and not waited for, so the number is still its own.
      kill(pid, SIGKILL)
      _ = waitForEnd(of: pid)
      throw error
    }
  }

  private static func late(_ program: String) -> BlockError {
    BlockError(.timedOut, step: "ask", object: program, cause: "it has not answered in time")
  }

  private static func read(
    from reader: borrowing Descriptor, limit: Int, until moment: Duration, object: String
  ) throws(BlockError) -> [UInt8] {
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let left = moment - LinuxClock().now
      var wanted = pollfd(fd: reader.raw, events: Int16(POLLIN), revents: 0)
      let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
      guard left > .zero else { throw late(object) }
      let ready = poll(&wanted, 1, Int32(clamping: milliseconds + 1))
      if ready <= 0 { continue }
      let count = Glibc.read(reader.raw, &chunk, chunk.count)
      if count == 0 { return output }
      if count < 0 {
        // Somebody else was faster, or a signal came.
        guard errno == EINTR || errno == EAGAIN else { throw .lastErrno(step: "read from", object: object) }
        continue
      }
      output += chunk[..<count]
      guard output.count <= limit else {
        throw BlockError(
          .exhausted, step: "ask", object: object, cause: "it has answered with more than \(limit) bytes")
      }
    }
  }
}
