import BlockCore
import Glibc
import LinuxIO

/// What the kernel says in its log from now on: device-mapper tells there, and only there, what it does not
/// like about a table.
struct KernelLog: ~Copyable {
  private let descriptor: Descriptor

  /// Begins to listen; without the right to read the log, nothing is heard.
  ///
  /// - Throws: By errno, if there is no descriptor to be had.
  init() throws(BlockError) {
    do {
      descriptor = try Descriptor.open("/dev/kmsg", O_RDONLY | O_NONBLOCK)
    } catch  where error.kind != .exhausted {
      descriptor = try Descriptor.open("/dev/null", O_RDONLY)
    }
    lseek(descriptor.raw, 0, SEEK_END)
  }

  /// An error with what device-mapper has said in the meantime; that of others' tables may be among it.
  func explained(_ error: BlockError) -> BlockError {
    let said = lines()
    guard !said.isEmpty else { return error }
    return BlockError(
      error.kind, step: error.step, object: error.object,
      cause: "\(error.cause) (the kernel: \(said.joined(separator: "; ")))", remedy: error.remedy,
      errno: error.errno)
  }

  private func lines() -> [String] {
    var found: [String] = []
    var record = [UInt8](repeating: 0, count: 8192)
    while found.count < 8 {
      let count = read(descriptor.raw, &record, record.count)
      // EPIPE: records were overwritten before they could be read; the next read goes on behind them.
      if count < 0 && (errno == EPIPE || errno == EINTR) { continue }
      guard count > 0 else { break }
      // "priority,number,time,flags;text", and lines of properties below.
      let text = String(
        decoding: record[..<count].drop { $0 != UInt8(ascii: ";") }.dropFirst(), as: UTF8.self)
      let line = text.split(separator: "\n").first ?? ""
      if line.hasPrefix("device-mapper: ") { found.append(String(line.dropFirst("device-mapper: ".count))) }
    }
    return found
  }
}
