import BlockCore
import CLinux
import Glibc

/// A pipe over which a program that we start says why it could not: its log may stand on the very disk that
/// has no room.
public struct StartReport: ~Copyable {
  /// The longest report in bytes: what a pipe holds in any case.
  private static let byteLimit = 4096

  private let reader: Descriptor
  private let writer: Descriptor

  /// Makes a pipe, closed on exec.
  ///
  /// - Throws: By errno.
  public init() throws(BlockError) {
    var ends: [Int32] = [-1, -1]
    guard clinux_pipe(&ends) == 0 else { throw .lastErrno(step: "make", object: "a pipe") }
    reader = Descriptor(owning: ends[0])
    writer = Descriptor(owning: ends[1])
  }

  /// The end to be given to the program.
  public var programsEnd: Int32 { writer.raw }

  /// What the program has written; empty if nothing.
  ///
  /// It must have ended.
  public func text() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.byteLimit)
    let count = read(reader.raw, &bytes, bytes.count)
    return Array(bytes.prefix(max(count, 0)))
  }

  /// Writes a report, in the program, to the end that it was given.
  ///
  /// - Throws: By errno.
  public static func write(_ text: [UInt8], to end: Int32) throws(BlockError) {
    guard Glibc.write(end, text, min(text.count, byteLimit)) >= 0 else {
      throw .lastErrno(step: "write", object: "the report to who started us")
    }
  }
}
