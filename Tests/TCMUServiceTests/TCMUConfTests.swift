import BlockCore
import Foundation
import Logging
import Synchronization
import TCMUService
import TestKit
import Testing

@Suite struct TCMUConfTests {
  private func parse(_ text: String) throws -> TCMUConf { try TCMUConf(Array(text.utf8), path: "tcmu.conf") }

  @Test func readsItsKeys() throws {
    let conf = try parse(
      """
      # Master TCMU configuration file
      log_level = 4
        log_dir="/var/log/tcmu"   # where

      """)
    #expect(conf.logLevel == .debug && conf.logDirectory == "/var/log/tcmu" && conf.notices == [])
    #expect(try parse("") == TCMUConf())
  }

  @Test(arguments: [
    ("log_level=0", 0), ("log_level = 5", 5), ("log_level = \"2\"", 2), ("log_level = '1' # x", 1),
    ("\tlog_level\t=\t3\t\r", 3),
  ])
  func levels(text: String, level: Int) throws {
    let conf = try parse(text)
    #expect(conf.logLevel?.rawValue == level && conf.notices == [])
  }

  @Test func levelsAreThoseOfTheLog() {
    let levels = (0...5).compactMap { TCMUConf.LogLevel(rawValue: $0)?.loggerLevel }
    #expect(levels == [.critical, .error, .warning, .info, .debug, .trace])
  }

  /// Each is left out, with one notice that names its line.
  @Test(arguments: [
    "log_levels = 3", "log_level = high", "log_level =", "log_dir = relative", "log_dir = ''", "log_level",
    "= 3", "log_dir = \"/a", "log_level = 99999999999999999999",
  ])
  func mistakesAreNoticed(text: String) throws {
    let conf = try parse("# first\n" + text)
    #expect(conf.logLevel == nil && conf.logDirectory == nil)
    #expect(conf.notices.count == 1 && conf.notices.allSatisfy { $0.contains("line 2") }, "\(conf)")
  }

  @Test func levelsBeyondTheRangeAreCut() throws {
    let conf = try parse("log_level = 9")
    #expect(conf.logLevel == .commands && conf.notices.count == 1)
    #expect(try parse("log_level = -1").logLevel == .critical)
  }

  @Test func manyMistakesHideNothing() throws {
    let conf = try parse(String(repeating: "what\n", count: 100) + "log_level = 1")
    #expect(conf.logLevel == .error && conf.notices.count == 21)
  }

  @Test func theLastLineHolds() throws {
    let conf = try parse("log_level = 1\nlog_level = 2")
    #expect(conf.logLevel == .warning && conf.notices.count == 1)
  }

  @Test func sizeIsBounded() throws {
    let error = #expect(throws: BlockError.self) {
      try parse(String(repeating: "#", count: Limits.tcmuConfBytes + 1))
    }
    #expect(error?.kind == .invalidArgument)
    #expect(try parse(String(repeating: "what\n", count: 5000)).notices.count <= 21)
  }

  @Test func whatDebianShipsIsRead() throws {
    let path = "/etc/tcmu/tcmu.conf"
    let conf = try TCMUConf(Array(Data(contentsOf: URL(filePath: path))), path: path)
    #expect(conf == TCMUConf())
  }

  @Test func changesAreReadHoweverTheyAreMade() async throws {
    let scratch = try Scratch()
    let path = try scratch.write("tcmu.conf", text: "log_level = 1\n")
    let seen = Mutex<[TCMUConf.LogLevel?]>([])
    let watch = try TCMUConfWatch(path: path, log: Logger(label: "test")) { conf in
      seen.withLock { $0.append(conf.logLevel) }
    }
    #expect(seen.withLock { $0 } == [.error])
    func last(is level: TCMUConf.LogLevel?) async throws {
      try await PrivateBus.wait("level \(String(describing: level))") { seen.withLock { $0.last == level } }
    }
    // In place.
    let file = try FileHandle(forWritingTo: URL(filePath: path))
    try file.write(contentsOf: Data("log_level = 2\n".utf8))
    try file.close()
    try await last(is: .warning)
    // As editors do: another file in its place.
    try scratch.write("tcmu.conf.new", text: "log_level = 4\n")
    rename(scratch("tcmu.conf.new"), path)
    try await last(is: .debug)
    // A file that cannot be read changes nothing.
    let count = seen.withLock(\.count)
    try scratch.write("tcmu.conf", [UInt8](repeating: 0x23, count: Limits.tcmuConfBytes + 1))
    try FileManager.default.removeItem(atPath: path)
    try await last(is: nil)
    // The file's end may be seen twice, also by the reading that its last content is the reason for.
    #expect(seen.withLock { $0.dropFirst(count).allSatisfy { $0 == nil } })
    watch.stop()
    let last = seen.withLock(\.count)
    try scratch.write("tcmu.conf", text: "log_level = 5\n")
    #expect(seen.withLock(\.count) == last)
  }

  @Test func anAbsentDirectoryIsFine() throws {
    let seen = Mutex<[TCMUConf]>([])
    let watch = try TCMUConfWatch(path: "/nonexistent/tcmu.conf", log: Logger(label: "test")) { conf in
      seen.withLock { $0.append(conf) }
    }
    #expect(seen.withLock { $0 } == [TCMUConf()])
    watch.stop()
  }
}

@Suite struct ServiceManagerTests {
  /// NOTIFY_SOCKET is the process's own, and nothing else of these tests looks at it.
  @Test func theServiceManagerIsTold() throws {
    // Without one it is nothing.
    unsetenv("NOTIFY_SOCKET")
    try ServiceManager.ready(status: "nobody listens")

    let scratch = try Scratch()
    let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    try #require(socket >= 0)
    defer { close(socket) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: scratch("notify").utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0)
    setenv("NOTIFY_SOCKET", scratch("notify"), 1)
    defer { unsetenv("NOTIFY_SOCKET") }
    func received() -> String {
      var bytes = [UInt8](repeating: 0, count: 200)
      let count = recv(socket, &bytes, bytes.count, 0)
      return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }
    try ServiceManager.ready(status: "3 devices")
    #expect(received() == "READY=1\nSTATUS=3 devices")
    try ServiceManager.stopping()
    #expect(received() == "STOPPING=1")
    unlink(scratch("notify"))
    #expect(throws: BlockError.self) { try ServiceManager.stopping() }
  }
}
