import Attachments
import BlockCore
import Glibc
import Handlers
import LinuxIO
import TestKit
import Testing

/// A data server of a handler, spoken to as the manager does.
final class ServedHandler {
  let pid: Int32
  let socket: MessageSocket
  let device: String
  let status: ServerStatus

  init(_ handler: HandlerRegistry.Entry, _ configuration: String, _ scratch: Scratch) throws {
    let name = "s\(UInt32.random(in: 0...UInt32.max))"
    let listener = try MessageSocket.listen(at: scratch(name))
    pid = try ChildProcess.start(
      .init(
        program: handler.program, arguments: handler.serverArguments(listener: 3),
        descriptors: [3: listener.raw]))
    socket = try MessageSocket.connect(to: scratch(name))
    let id = try AttachmentID(name)
    try socket.send(
      ManagerMessage.attach(
        ServerOrder(
          id: id, exportName: "ashlar-\(name)-test",
          spec: AttachmentSpec(
            scheme: nil, path: configuration, configuration: nil, transport: .fuse, isReadOnly: false),
          queueCount: 1, start: .fresh, byteCount: 0)))
    var attached: ServerStatus?
    while attached == nil {
      switch try Self.receive(socket) {
      case .attached(let status): attached = status
      case .failed(let message): throw message.error
      default: continue
      }
    }
    status = try #require(attached)
    device = try #require(status.device)
    try socket.send(ManagerMessage.commit)
  }

  /// The next message; what comes with it is closed, so that the device goes when its server lets it go.
  private static func receive(_ socket: borrowing MessageSocket) throws -> ServerMessage {
    guard case .message(let bytes, let descriptors) = try socket.receive() else {
      throw BlockError(.disconnected, step: "hear of", object: "the server", cause: "it is gone")
    }
    for descriptor in descriptors { close(descriptor) }
    guard case .message(let message, _) = Incoming<ServerMessage>(bytes) else {
      throw BlockError(.corrupt, step: "understand", object: "the server", cause: "of another release")
    }
    return message
  }

  /// Writes random bytes to the device and reads them back, past the page cache.
  ///
  /// - Returns: The first MiB of the device.
  @discardableResult
  func exercise(_ scratch: Scratch) throws -> [UInt8] {
    func dd(_ arguments: String...) throws {
      let done = try Plugins.run("/usr/bin/dd", arguments + ["bs=64k", "count=16", "status=none"])
      #expect(done.status == 0, "\(done.output)")
    }
    try dd("if=/dev/urandom", "of=\(scratch("content"))")
    try dd("if=\(scratch("content"))", "of=\(device)", "oflag=direct", "conv=fsync")
    try dd("if=\(device)", "of=\(scratch("back"))", "iflag=direct")
    let content = try scratch.bytes("content")
    #expect(try scratch.bytes("back") == content)
    return content
  }

  /// Detaches the device and waits for the server's end.
  func detach() throws -> ChildProcess.End {
    try socket.send(ManagerMessage.detach)
    return ChildProcess.waitForEnd(of: pid)
  }
}

extension ChildProcess.End {
  /// Whether a process ended as it should.
  var isClean: Bool {
    if case .exited(0) = self { true } else { false }
  }
}
