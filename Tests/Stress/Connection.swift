import Foundation

/// What a manager has answered.
struct Answer {
  var status: Int
  var body: String
}

/// Why there was no answer.
enum NoAnswer: Error, CustomStringConvertible {
  case cannotConnect(Int32)
  case hungUp
  case late
  case malformed(String)

  var description: String {
    switch self {
    case .cannotConnect(let code): "no connection (errno \(code))"
    case .hungUp: "hung up"
    case .late: "not within \(Connection.patience) s"
    case .malformed(let head): "not HTTP: \(head)"
    }
  }
}

/// A connection by which one may send pieces of requests, and leave in the middle of one.
struct Connection: ~Copyable {
  /// How long an answer may take, in seconds; a sanitizer makes everything 5 to 20 times as slow.
  static let patience = 180

  private let descriptor: Int32
  private var received: [UInt8] = []

  init(_ path: String) throws(NoAnswer) {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .cannotConnect(errno) }
    var patience = timeval(tv_sec: Self.patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    let code = withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard code == 0 else { throw .cannotConnect(errno) }
  }

  deinit { close(descriptor) }

  /// Sends bytes, all of them.
  func send(_ bytes: [UInt8]) throws(NoAnswer) {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes {
        Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw errno == EAGAIN ? .late : .hungUp }
      done += count
    }
  }

  /// Waits for the next answer.
  mutating func answer() throws(NoAnswer) -> Answer {
    while true {
      if let end = headEnd {
        let head = String(decoding: received[..<end], as: UTF8.self)
        guard let (status, length) = Self.parse(head) else { throw .malformed(String(head.prefix(200))) }
        while received.count < end + length { try more() }
        let body = String(decoding: received[end..<end + length], as: UTF8.self)
        received.removeFirst(end + length)
        return Answer(status: status, body: body)
      }
      try more()
    }
  }

  /// Where the first answer's body begins.
  private var headEnd: Int? {
    let mark: [UInt8] = [13, 10, 13, 10]
    guard received.count >= 4 else { return nil }
    return (4...received.count).first { received[($0 - 4)..<$0].elementsEqual(mark) }
  }

  private static func parse(_ head: String) -> (status: Int, length: Int)? {
    let lines = head.split(separator: "\r\n")
    guard let first = lines.first, first.hasPrefix("HTTP/1.1 "),
      let status = Int(first.dropFirst(9).prefix(3))
    else { return nil }
    let length = lines.first { $0.lowercased().hasPrefix("content-length:") }
      .flatMap { Int($0.dropFirst("content-length:".count).trimmingCharacters(in: .whitespaces)) }
    return (status, length ?? 0)
  }

  private mutating func more() throws(NoAnswer) {
    var piece = [UInt8](repeating: 0, count: 16 << 10)
    let count = recv(descriptor, &piece, piece.count, 0)
    if count < 0 && errno == EINTR { return }
    if count < 0 && errno == EAGAIN { throw .late }
    guard count > 0 else { throw .hungUp }
    received += piece[..<count]
  }
}
