import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What the manager's HTTP interface makes of requests that are not as they should be.
  @Suite struct APITests {
    private func post(_ instance: Instance, _ body: String, to route: String = "attachments") throws -> String
    {
      let socket = try RawConnection("\(instance.run)/ashlard.sock")
      return try #require(
        socket.ask(
          "POST /v1/\(route) HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
        ))
    }

    /// A body that holds something else than it should is refused, and the answer names what.
    @Test func aWrongBodyIsNamed() throws {
      let instance = try Instance()
      _ = try instance.managerPid()
      let image = Fixtures.path("ext4/config.l2.v1.json")
      let cases: [(body: String, words: String)] = [
        (#"{"id": "t", "image": "\#(image)", "readonly": true}"#, "the key readonly is not known"),
        (#"{"id": 5, "image": "\#(image)"}"#, "the value of id is no string"),
        (
          #"{"id": "t", "image": "\#(image)", "readOnly": "yes"}"#,
          "the value of readOnly is no true or false"
        ),
        (#"{"id": "t"}"#, "the key image is missing"), ("[]", "no JSON object"), ("hello", "no JSON"),
        (String(repeating: " ", count: 65_537), "more than 65536 bytes"),
      ]
      for (body, words) in cases {
        let answer = try post(instance, body)
        #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains(words), "\(body.prefix(80)): \(answer)")
      }
      let wrong: [(route: String, body: String, words: String)] = [
        ("sandboxes", #"{"name": "t", "base": "/x", "sise": 1}"#, "sise"),
        ("sandboxes", #"{"name": "t", "base": "/x", "size": "big"}"#, "the value of size is no whole number"),
        ("sandboxes/t/fork", #"{"target": "u", "replaces": true}"#, "replaces"),
        ("volumes", #"{"name": "t", "volume": "/x", "confirm": true}"#, "confirm"),
        ("volume-content", #"{"image": "t", "volume": "/x", "layouts": "sector"}"#, "layouts"),
      ]
      for (route, body, words) in wrong {
        let answer = try post(instance, body, to: route)
        #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains(words), "\(route): \(answer)")
      }
      try instance.expectNothingLeft()
    }

    /// Who speaks HTTP/1.0 waits for the connection's end.
    @Test func anOldClientIsNotKept() throws {
      let instance = try Instance()
      _ = try instance.managerPid()
      let socket = try RawConnection("\(instance.run)/ashlard.sock")
      let answer = try #require(socket.ask("GET /v1/status HTTP/1.0\r\n\r\n"))
      #expect(answer.contains("\"pid\""), "\(answer)")
    }
  }
}
