import Attachments
import BlockCore
import Engine
import Foundation
import LinuxIO
import TestKit
import Testing

/// What is written down of what is served.
@Suite struct PinTests {
  private func pin(_ path: String, _ role: ImagePin.Role = .constant) throws -> ImagePin {
    ImagePin(
      files: [.init(path: path, role: role, state: try FileState(ofPath: path))],
      layers: [.init(path: path, uuid: "one", parentUUID: "none", byteCount: 4096)],
      disk: .init(byteCount: 4096, isReadOnly: true))
  }

  /// A newer release adds fields, and roles.
  @Test func whatIsNotKnownIsIgnored() throws {
    let json = """
      {"version": 7, "new": [1], "layers": [], "disk": {"byteCount": 512, "isReadOnly": true, "new": 1}, "files": [
      {"path": "/a", "role": "new", "new": {}, "state": {"device": 1, "inode": 2, "byteCount": 3, "modified": 4}}]}
      """
    let pin = try decodeMessage(ImagePin.self, Array(json.utf8))
    #expect(pin.version == 7 && pin.files[0].role.rawValue == "new" && pin.files[0].state.generation == nil)
    // Held to be one that is only read.
    var other = pin.files[0].state
    #expect(pin.files[0].difference(to: other, sha256: nil) == nil)
    other.modified = 5
    #expect(pin.files[0].difference(to: other, sha256: nil)?.contains("modified") == true)
    #expect(try decodeMessage(ImagePin.self, try encodeMessage(pin)) == pin)
  }

  @Test func aReplacementIsSeenAndNamed() throws {
    let scratch = try Scratch()
    let path = try scratch.write("layer", text: "one")
    let pin = try pin(path)
    #expect(try pin.replacement() == nil)
    #expect(rename(try scratch.write("other", text: "one"), path) == 0)
    let replacement = try #require(try pin.replacement())
    #expect(
      replacement.path == path && replacement.difference.contains("instead of \(pin.files[0].state.inode)"))
    #expect(unlink(path) == 0)
    #expect(try pin.replacement()?.difference.contains("not there") == true)
  }

  @Test func layersAndSizesAreCompared() throws {
    let scratch = try Scratch()
    let pin = try pin(try scratch.write("layer", text: "one"))
    try pin.check(pin)
    func cause(_ change: (inout ImagePin) -> Void) -> String? {
      var found = pin
      change(&found)
      return #expect(throws: BlockError.self) { try pin.check(found) }?.cause
    }
    #expect(cause { $0.layers[0].uuid = "two" }?.contains("UUID two instead of one") == true)
    #expect(cause { $0.layers[0].parentUUID = "two" }?.contains("parent UUID two instead of none") == true)
    #expect(cause { $0.layers = [] }?.contains("0 layers instead of 1") == true)
    #expect(cause { $0.disk.byteCount = 8192 }?.contains("8192 bytes instead of 4096") == true)
    #expect(cause { $0.files = [] }?.contains("not opened any more") == true)
  }

  /// What a process of an earlier release has open is told from what stands at its path later.
  @Test func aPinOfWhatIsOpen() throws {
    let scratch = try Scratch()
    let path = try scratch.write("disk", [UInt8](repeating: 1, count: 4096))
    let state = try FileState(ofPath: path)
    let file = try Descriptor.open(path, O_RDWR)
    let null = try Descriptor.open("/dev/null", O_RDONLY)
    let pid = try ChildProcess.start(
      .init(program: "/bin/sleep", arguments: ["600"], descriptors: [3: null.raw, 4: file.raw]))
    defer {
      kill(pid, SIGKILL)
      ChildProcess.collect(pid)
    }
    let server = try #require(ProcessIdentity(pid: pid))
    let disk = ImagePin.Disk(byteCount: 4096, isReadOnly: false)
    let pin = try #require(try ImagePin(openIn: server, except: nil, disk))
    #expect(pin.version == ImagePin.observedVersion && pin.files.count == 1)
    #expect(pin.files.first == .init(path: path, role: .writable, state: state))
    #expect(try pin.replacement(of: path) == nil)
    // By another name it is the same file.
    #expect(rename(path, scratch("away")) == 0)
    var found = ImagePin(
      files: [.init(path: scratch("away"), role: .constant, state: state)], layers: [], disk: disk)
    try pin.check(found)
    #expect(rename(try scratch.write("other", [UInt8](repeating: 2, count: 4096)), path) == 0)
    #expect(try pin.replacement()?.path == path)
    // It is known by its new name; the disk's own path leads elsewhere.
    let renamed = try #require(try ImagePin(openIn: server, except: nil, disk))
    #expect(try renamed.replacement() == nil)
    #expect(try renamed.replacement(of: path)?.path == path)
    found.files[0].state = try FileState(ofPath: path)
    #expect(throws: BlockError.self) { try pin.check(found) }
    // One that nothing leads to any more is known by the path that it had.
    #expect(unlink(scratch("away")) == 0)
    #expect(try ImagePin(openIn: server, except: nil, disk)?.files.first?.path == scratch("away"))
  }

  /// All that a data server says arrives, and all that it is told.
  @Test func messagesCarryThem() throws {
    let scratch = try Scratch()
    let path = try scratch.write("layer", text: "one")
    var status = ServerStatus(exportName: "ashlar-a-1")
    status.device = "/dev/loop7"
    status.pin = try pin(path)
    status.flushFailure = FlushFailure(file: path, happenedAt: 3, cause: "Input/output error")
    guard
      case .message(.attached(let found), _) = Incoming<ServerMessage>(
        try ServerMessage.attached(status).encoded(request: nil))
    else {
      Issue.record("another message")
      return
    }
    #expect(found == status)
    let spec = AttachmentSpec(
      scheme: nil, path: path, configuration: nil, transport: .tcmu, isReadOnly: true)
    var order = ServerOrder(
      id: try AttachmentID("a"), exportName: "ashlar-a-1", spec: spec, queueCount: 1, start: .takeOver,
      byteCount: 0)
    order.pin = status.pin
    order.flushFailure = status.flushFailure
    guard
      case .message(.attach(let heard), _) = Incoming<ManagerMessage>(
        try ManagerMessage.attach(order).encoded(request: nil))
    else {
      Issue.record("another message")
      return
    }
    #expect(heard.pin == order.pin && heard.flushFailure == order.flushFailure)
    guard
      case .message(.change(.resetFlushFailure), _) = Incoming<ManagerMessage>(
        try ManagerMessage.change(.resetFlushFailure).encoded(request: 7))
    else {
      Issue.record("another message")
      return
    }
  }

  /// What a data server that only makes everything fail says does not take it away.
  @Test func aRowKeepsThem() throws {
    let scratch = try Scratch()
    let path = try scratch.write("layer", text: "one")
    let spec = AttachmentSpec(
      scheme: nil, path: path, configuration: nil, transport: .tcmu, isReadOnly: true)
    var row = try Journal.Row(
      id: AttachmentID("a"), exportName: "ashlar-a-1", spec: spec, bootID: "boot", createdAt: 1)
    let failure = FlushFailure(file: path, happenedAt: 3, cause: "Input/output error")
    var status = ServerStatus(exportName: "ashlar-a-1")
    status.pin = try pin(path)
    status.flushFailure = failure
    try row.note(status)
    try row.note(ServerStatus(exportName: "ashlar-a-1"))
    let journal = try Journal(scratch("journal.sqlite"))
    try journal.save(row)
    let found = try #require(try journal.rows().first)
    #expect(try found.decodedPin() == status.pin && found.decodedFlushFailure() == failure)
  }
}
