import BlockCore
import Glibc

/// What the kernel says in its log from now on: much of it tells there, and only there, why it refused something.
public struct KernelLog: ~Copyable {
  private let descriptor: Descriptor
  /// Lines that are told at most.
  private static let lineLimit = 8

  /// Begins to listen; without the right to read the log, nothing is heard.
  ///
  /// - Throws: By errno, if there is no descriptor to be had.
  public init() throws(BlockError) {
    do {
      descriptor = try Descriptor.open("/dev/kmsg", O_RDONLY | O_NONBLOCK)
    } catch  where error.kind != .exhausted {
      descriptor = try Descriptor.open("/dev/null", O_RDONLY)
    }
    lseek(descriptor.raw, 0, SEEK_END)
  }

  /// The lines that have come since, as far as they are wanted; those of others may be among them.
  ///
  /// - Parameter wanted: What to tell of a line; `nil` for nothing.
  public func lines(_ wanted: (Substring) -> String?) -> [String] {
    var found: [String] = []
    var record = [UInt8](repeating: 0, count: 8192)
    while found.count < Self.lineLimit {
      let count = read(descriptor.raw, &record, record.count)
      // EPIPE: records were overwritten before they could be read; the next read goes on behind them.
      if count < 0 && (errno == EPIPE || errno == EINTR) { continue }
      guard count > 0 else { break }
      // "priority,number,time,flags;text", and lines of properties below.
      let text = String(
        decoding: record[..<count].drop { $0 != UInt8(ascii: ";") }.dropFirst(), as: UTF8.self)
      if let line = wanted(text.split(separator: "\n").first ?? "") { found.append(line) }
    }
    return found
  }
}

extension BlockError {
  /// The same failure, with what the kernel has said about it.
  ///
  /// - Parameter said: Its lines; without any, nothing changes.
  public func explained(byKernel said: [String]) -> BlockError {
    guard !said.isEmpty else { return self }
    return BlockError(
      kind, step: step, object: object, cause: "\(cause) (the kernel: \(said.joined(separator: "; ")))",
      remedy: remedy, errno: errno)
  }
}
