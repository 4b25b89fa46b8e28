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

    /// A query that holds something else than it should is refused, and the answer names what.
    @Test func aWrongQueryIsNamed() throws {
      let instance = try Instance()
      _ = try instance.managerPid()
      let image = Fixtures.path("ext4/config.l2.v1.json")
      let cases: [(request: String, words: String)] = [
        ("DELETE /v1/attachments/x?force=1", "is neither true nor false"),
        ("DELETE /v1/attachments/x?forced", "it is not known here; known are force"),
        ("DELETE /v1/attachments/x?Force=true", "query Force"),
        ("DELETE /v1/attachments/x?force=true&force=false", "it is there twice"),
        ("DELETE /v1/sandboxes/x?force=yes", "is neither true nor false"),
        ("DELETE /v1/volumes/x?force=", "is neither true nor false"),
        ("GET /v1/attachments?x=1", "query x"), ("GET /v1/status?x", "query x"),
        ("GET /v1/sandbox-events?after=-1", "no whole number"),
        ("GET /v1/sandbox-events?before=1", "known are after"),
        ("GET /v1/sandbox-dependants?path=x.img", "no absolute path"),
        ("GET /v1/attachment-dependants?path=x.img", "no absolute path"),
        ("GET /v1/sandbox-dependants?path=%zz", "two hexadecimal digits"),
        ("GET /v1/volume-content?volume=x.img", "no absolute path"),
        ("GET /v1/attachments/%ff", "not UTF-8"), ("DELETE /v1/volumes/%ff", "not UTF-8"),
      ]
      for (request, words) in cases {
        let socket = try RawConnection("\(instance.run)/ashlard.sock")
        let answer = try #require(
          socket.ask("\(request) HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
        #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains(words), "\(request): \(answer)")
      }
      for (body, words) in [
        (#"{"id": "t", "image": "\#(image)", "\u0069d": "u"}"#, "the key id is there twice"),
        (#"{"id": "t", "image": "raw:x.img"}"#, "no absolute path"),
        (#"{"id": "t", "image": "x.img"}"#, "no absolute path"),
      ] {
        let answer = try post(instance, body)
        #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains(words), "\(body): \(answer)")
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
