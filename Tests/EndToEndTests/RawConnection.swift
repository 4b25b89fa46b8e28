import Foundation
import LinuxIO
import Testing

/// A connection to a Unix socket that says what a test wants to say, byte by byte.
final class RawConnection {
  private let raw: Int32

  /// Connects to a path.
  init(_ path: String) throws {
    raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    let status = Self.withAddress(path) { connect(raw, $0, $1) }
    try #require(status == 0, "connect: \(errno)")
  }

  deinit { close(raw) }

  /// Listens at a path; the descriptor is the caller's.
  static func listen(at path: String) throws -> Int32 {
    let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    try #require(withAddress(path) { bind(raw, $0, $1) } == 0 && Glibc.listen(raw, 8) == 0)
    return raw
  }

  /// Sends a text, and waits for nothing.
  func say(_ text: String) {
    let bytes = Array(text.utf8)
    _ = send(raw, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  /// Sends a text, and gives all that comes until the other side ends the connection; `nil` if it does not in time.
  func ask(_ text: String, seconds: Int = 5) -> String? {
    say(text)
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    var waiting = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
    while poll(&waiting, 1, Int32(seconds * 1000)) > 0 {
      let count = read(raw, &buffer, buffer.count)
      guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
      answer += buffer[..<count]
    }
    return nil
  }

  private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32)
    -> Int32
  {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
