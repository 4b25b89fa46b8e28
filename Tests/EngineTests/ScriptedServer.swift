import Attachments
import BlockCore
import Foundation
import LinuxIO
import Logging
import Synchronization
import TestKit

import Engine

/// Somebody at a data server's socket who says what a test has written for him, in the name of a process that only
/// sleeps.
final class ScriptedServer: Sendable {
  /// The process that stands for him.
  let process: ProcessIdentity
  private let heard = Mutex<[String]>([])

  /// Listens.
  ///
  /// - Parameters:
  ///   - path: Where.
  ///   - files: What the process has open besides.
  ///   - first: What is said to whoever connects.
  ///   - answers: What is said to a message, given the message and the number of the connection; `nil` ends that.
  init(
    at path: String, open files: [Int32] = [], first: @escaping @Sendable (ProcessIdentity) -> String,
    answers: @escaping @Sendable (String, Int) -> [String]?
  ) throws {
    let socket = try MessageSocket.listen(at: path)
    // By the socket that it has open he is found.
    var descriptors: [Int32: Int32] = [3: socket.raw]
    for file in files { descriptors[Int32(3 + descriptors.count)] = file }
    let pid = try ChildProcess.start(
      .init(program: "/bin/sleep", arguments: ["600"], descriptors: descriptors))
    guard let process = ProcessIdentity(pid: pid) else {
      throw BlockError(.unavailable, step: "start", object: "sleep", cause: "it is gone")
    }
    self.process = process
    let listener = socket.release()
    try WorkerThread.start(name: "scripted") { [self] in
      let listener = Descriptor(owning: listener)
      var connection = 0
      do throws(BlockError) {
        while true {
          let socket = try MessageSocket.accept(from: listener)
          connection += 1
          do throws(BlockError) {
            try serve(socket, connection, first(process), answers)
          } catch  where error.kind == .disconnected {
            // Who has connected is gone, and the next one may come.
            continue
          }
        }
      } catch {
        heard.withLock { $0.append("\(error)") }
      }
    }
  }

  private func serve(
    _ socket: borrowing MessageSocket, _ connection: Int, _ first: String,
    _ answers: @Sendable (String, Int) -> [String]?
  ) throws(BlockError) {
    try socket.send(Array(first.utf8))
    while case .message(let bytes, _) = try socket.receive() {
      let text = String(decoding: bytes, as: UTF8.self)
      heard.withLock { $0.append(text) }
      guard let replies = answers(text, connection) else { return }
      for reply in replies { try socket.send(Array(reply.utf8)) }
      // It closes its connection by ending.
      if replies.contains(where: { $0.contains("detached") }) { return }
    }
  }

  /// What was said to him so far.
  var messages: [String] { heard.withLock { $0 } }

  func end() {
    process.kill()
    ChildProcess.collect(process.pid)
  }

  /// The number of a request; `nil` without one.
  static func request(_ text: String) -> UInt64? {
    guard case .message(_, let request) = Incoming<ManagerMessage>(Array(text.utf8)) else { return nil }
    return request
  }
}

/// An instance whose manager runs within the test.
struct TestInstance {
  let scratch: Scratch
  let directories: EngineDirectories
  static let deadlines: Deadlines = {
    var short = Deadlines.standard
    short.attach = .seconds(5)
    short.readBack = .seconds(5)
    short.settle = .milliseconds(50)
    short.detach = .seconds(2)
    short.flush = .seconds(2)
    short.change = .seconds(1)
    short.handOver = .seconds(1)
    short.turn = .seconds(5)
    short.stop = .seconds(2)
    short.makeWay = .seconds(2)
    short.kill = .milliseconds(300)
    short.journal = .milliseconds(50)
    return short
  }()

  init() throws {
    scratch = try Scratch()
    directories = EngineDirectories(root: scratch("root"), run: scratch("run"))
    try directories.make()
  }

  static var bootID: String { SmallFile.text("/proc/sys/kernel/random/boot_id") ?? "" }

  /// A row of a device that is served.
  func row(_ id: String, _ process: ProcessIdentity?, state: String = "attached") throws -> Journal.Row {
    let spec = AttachmentSpec(
      scheme: "raw", path: "/images/\(id)", configuration: nil, transport: .auto, isReadOnly: true)
    var row = try Journal.Row(
      id: AttachmentID(id), exportName: "ashlar-\(id)-abc", spec: spec, bootID: Self.bootID, createdAt: 1)
    row.state = state
    row.serverPid = process?.pid
    row.serverStart = process.map { Int64($0.startTime) }
    return row
  }

  func write(_ row: Journal.Row) throws { try Journal(directories.journal).insert(row) }

  func rows() throws -> [Journal.Row] { try Journal(directories.journal).rows() }

  /// A manager; with a short time for answers only where none is to come.
  func manager(
    report: Duration = .seconds(10),
    checkWriter: @escaping @Sendable (String) throws(BlockError) -> Void = { _ throws(BlockError) in }
  ) async throws -> Manager {
    var deadlines = Self.deadlines
    deadlines.report = report
    return try await Manager.start(
      .init(
        directories: directories, launches: ServerLaunches(program: "/bin/false"), deadlines: deadlines,
        checkWriter: checkWriter),
      try await InstanceLock.take(
        directories, as: .daemon, clock: LinuxClock(), log: Logger(label: "test")), .linux,
      log: Logger(label: "test"))
  }

  /// The socket of a row of ``row(_:_:state:)``.
  var socket: String { directories.serverSocket("ashlar-x-abc") }
}
