import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// A data server of now and a manager of another release.
  @Suite struct ReleaseTests {
    private let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// A data server that a test speaks to.
    private final class Server {
      let socket: MessageSocket
      let pid: Int32

      init(at path: String) throws {
        let listener = try MessageSocket.listen(at: path)
        pid = try ChildProcess.start(
          .init(
            program: "\(Instance.programs)/ashlard", arguments: ["serve", "--listener", "3"],
            descriptors: [3: listener.raw]))
        socket = try MessageSocket.connect(to: path)
      }

      deinit {
        kill(pid, SIGKILL)
        _ = ChildProcess.waitForEnd(of: pid)
      }

      func say(_ text: String) throws { try socket.send(Array(text.utf8)) }

      /// The next message as it is on the wire.
      func hear() throws -> String {
        guard case .message(let bytes, let descriptors) = try socket.receive() else { return "end" }
        for descriptor in descriptors { close(descriptor) }
        return String(decoding: bytes, as: UTF8.self)
      }
    }

    /// The first release's orders, in its own bytes, and among them what only a later one says.
    @Test func aServerObeysManagersOfEveryRelease() throws {
      let image = try scratch.write("disk.img", [UInt8](repeating: 7, count: 1 << 20))
      let orders = try Fixtures.text("releases/1/manager.messages").split(separator: "\n").map(String.init)
      let server = try Server(at: scratch("s.sock"))
      let first = try server.hear()
      #expect(first.hasPrefix(#"{"status":{"_0":{"#) && first.contains(#""version":2"#), "\(first)")
      try server.say(#"{"dance":{"_0":{"tempo":3}}}"#)
      try server.say("no message at all")
      let attach = try #require(orders.first { $0.contains("golden") })
      try server.say(
        attach.replacing(#"\/tmp\/journal-v1\/img\/disk.img"#, with: image)
          .replacing(#""start":"fresh""#, with: #""start":"fresh","speed":"high""#))
      let attached = try server.hear()
      #expect(attached.hasPrefix(#"{"attached":{"_0":{"#) && attached.contains("/dev"), "\(attached)")
      try server.say(#"{"commit":{}}"#)
      for (order, answer) in [
        (#"{"report":{}}"#, #"{"counters":{"_0":{"#),
        (#"{"change":{"_0":{"size":{"_0":4096}}}}"#, #"{"changed":{"_0":{"#),
      ] {
        #expect(orders.contains(order))
        try server.say(order)
        let said = try server.hear()
        #expect(said.hasPrefix(answer) && !said.contains("request"), "\(said)")
      }
      // One that has told its version is told what is not understood, and gets its numbers back.
      try server.say(#"{"hello":{"_0":{"version":9},"colour":"red"}}"#)
      try server.say(#"{"report":{"request":41,"deep":true}}"#)
      #expect(try server.hear().contains(#""request":41"#))
      for order in [#"{"dance":{"request":42}}"#, #"{"change":{"_0":{"colour":{"_0":1}},"request":42}}"#] {
        try server.say(order)
        let said = try server.hear()
        #expect(said.hasPrefix(#"{"refused":{"#) && said.contains(#""request":42"#), "\(said)")
      }
      try server.say(#"{"detach":{}}"#)
      #expect(try server.hear() == #"{"released":{}}"#)
      #expect(try server.hear() == #"{"detached":{}}"#)
      #expect(try server.hear() == "end")
    }

    /// An order that cannot be understood is refused, and nobody waits for it.
    @Test func anOrderThatIsNotUnderstoodFails() throws {
      let server = try Server(at: scratch("s.sock"))
      _ = try server.hear()
      try server.say(#"{"attach":{"_0":{"id":"a","start":"backwards"}}}"#)
      let said = try server.hear()
      #expect(said.hasPrefix(#"{"failed":{"_0":{"#) && said.contains("another release"), "\(said)")
      #expect(try server.hear() == "end")
    }
  }
}
