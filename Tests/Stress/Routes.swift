import BlockSim

/// A request of one of the routes of docs/api.md.
struct Route: Sendable {
  /// How the tables call it.
  var name: String
  private let make: @Sendable (inout SplitMix64) -> (line: String, body: String?)

  init(
    _ method: String, _ name: String,
    _ make: @escaping @Sendable (inout SplitMix64) -> (path: String, body: String?)
  ) {
    self.name = "\(method) \(name)"
    self.make = { random in
      let (path, body) = make(&random)
      return ("\(method) \(path)", body)
    }
  }

  /// The bytes of one request; no two need be the same.
  func request(_ random: inout SplitMix64) -> [UInt8] {
    let (line, body) = make(&random)
    let length = body.map { "Content-Length: \($0.utf8.count)\r\n" } ?? ""
    return Array("\(line) HTTP/1.1\r\nHost: ashlar\r\n\(length)\r\n\(body ?? "")".utf8)
  }
}

/// What the requests are about; few of each kind, so that nearly all of them meet others.
struct Objects: Sendable {
  /// Images and files, all absolute: some sound, some missing, some damaged.
  var images: [String]
  /// Block devices and files with room for a header and an image.
  var volumes: [String]
  /// An image for the volumes, and bases for sandboxes.
  var contents: [String]
  /// Where sandboxes may leave something.
  var directory: String

  private static let ids = ["one", "two", "three"]
  private static let names = ["sone", "stwo"]
  private static let mapped = ["virtlet-dm-one", "virtlet-dm-two", "virtlet-dm-three", "not-a-volume"]

  /// One of a few texts.
  private static func any(_ texts: [String], _ random: inout SplitMix64) -> String {
    texts[Int.random(in: 0..<texts.count, using: &random)]
  }

  private static func oneIn(_ count: Int, _ random: inout SplitMix64) -> Bool {
    Int.random(in: 0..<count, using: &random) == 0
  }

  /// The manager itself, but for restarting it, which has a phase of its own.
  var manager: [Route] {
    [
      Route("GET", "/v1/status") { _ in ("/v1/status", nil) },
      Route("POST", "/v1/keep") { _ in ("/v1/keep", nil) },
      Route("POST", "/v1/recover") { _ in ("/v1/recover", nil) },
      Route("GET", "/v1/nothing") { _ in ("/v1/nothing", nil) },
    ]
  }

  var attachments: [Route] {
    [
      Route("GET", "/v1/attachments") { _ in ("/v1/attachments", nil) },
      Route("POST", "/v1/attachments") { [images] random in
        if Self.oneIn(20, &random) { return ("/v1/attachments", "{\"id\":") }
        let id = Self.any(Self.ids, &random)
        let image = Self.any(images, &random)
        let transport = Self.oneIn(10, &random) ? "\"transport\":\"tcmu\"," : ""
        let isReadOnly = Self.oneIn(4, &random)
        return (
          "/v1/attachments",
          "{\"id\":\"\(id)\",\(transport)\"readOnly\":\(isReadOnly),\"image\":\"\(image)\"}"
        )
      },
      Route("GET", "/v1/attachments/ID") { random in
        ("/v1/attachments/\(Self.any(Self.ids, &random))", nil)
      },
      Route("DELETE", "/v1/attachments/ID") { random in
        let force = Self.oneIn(3, &random) ? "?force=true" : ""
        return ("/v1/attachments/\(Self.any(Self.ids, &random))\(force)", nil)
      },
      Route("POST", "/v1/attachments/ID/hand-over") { random in
        ("/v1/attachments/\(Self.any(Self.ids, &random))/hand-over", nil)
      },
      Route("POST", "/v1/attachments/ID/reset") { random in
        let body = Self.oneIn(10, &random) ? "{}" : "{\"flushError\":true}"
        return ("/v1/attachments/\(Self.any(Self.ids, &random))/reset", body)
      },
    ]
  }

  var volumeRoutes: [Route] {
    [
      Route("GET", "/v1/volumes") { _ in ("/v1/volumes", nil) },
      Route("POST", "/v1/volumes") { [volumes] random in
        let name = Self.any(Self.mapped, &random)
        let volume = Self.any(volumes, &random)
        return ("/v1/volumes", "{\"name\":\"\(name)\",\"volume\":\"\(volume)\"}")
      },
      Route("DELETE", "/v1/volumes/NAME") { random in
        let force = Self.oneIn(3, &random) ? "?force=true" : ""
        return ("/v1/volumes/\(Self.any(Self.mapped, &random))\(force)", nil)
      },
      Route("GET", "/v1/volume-content") { [volumes] random in
        ("/v1/volume-content?volume=\(Self.any(volumes, &random))", nil)
      },
      Route("POST", "/v1/volume-content") { [volumes, contents] random in
        let volume = Self.any(volumes, &random)
        let force = Self.oneIn(3, &random)
        return (
          "/v1/volume-content",
          "{\"volume\":\"\(volume)\",\"image\":\"\(Self.any(contents, &random))\",\"force\":\(force)}"
        )
      },
      Route("DELETE", "/v1/volume-work") { [volumes] random in
        ("/v1/volume-work?volume=\(Self.any(volumes, &random))", nil)
      },
    ]
  }

  var sandboxes: [Route] {
    let verbs = ["pause", "resume", "merge"].map { verb in
      Route("POST", "/v1/sandboxes/NAME/\(verb)") { random in
        ("/v1/sandboxes/\(Self.any(Self.names, &random))/\(verb)", nil)
      }
    }
    return verbs + [
      Route("GET", "/v1/sandboxes") { _ in ("/v1/sandboxes", nil) },
      Route("POST", "/v1/sandboxes") { [contents, directory] random in
        let name = Self.any(Self.names, &random)
        let store = Self.oneIn(2, &random) ? ",\"store\":\"\(directory)/\(name).store\"" : ""
        return (
          "/v1/sandboxes", "{\"name\":\"\(name)\",\"base\":\"\(Self.any(contents, &random))\"\(store)}"
        )
      },
      Route("GET", "/v1/sandboxes/NAME") { random in
        ("/v1/sandboxes/\(Self.any(Self.names, &random))", nil)
      },
      Route("POST", "/v1/sandboxes/NAME/fork") { random in
        let target = Self.any(Self.names, &random)
        return ("/v1/sandboxes/\(Self.any(Self.names, &random))/fork", "{\"target\":\"\(target)\"}")
      },
      Route("POST", "/v1/sandboxes/NAME/flatten") { [directory] random in
        let name = Self.any(Self.names, &random)
        return (
          "/v1/sandboxes/\(name)/flatten", "{\"target\":\"\(directory)/\(name).flat\",\"replace\":true}"
        )
      },
      Route("DELETE", "/v1/sandboxes/NAME/work") { random in
        ("/v1/sandboxes/\(Self.any(Self.names, &random))/work", nil)
      },
      Route("DELETE", "/v1/sandboxes/NAME") { random in
        let force = Self.oneIn(2, &random) ? "?force=true" : ""
        return ("/v1/sandboxes/\(Self.any(Self.names, &random))\(force)", nil)
      },
      Route("POST", "/v1/sandboxes/gc") { _ in ("/v1/sandboxes/gc", nil) },
      Route("GET", "/v1/sandbox-dependants") { [contents] random in
        ("/v1/sandbox-dependants?path=\(Self.any(contents, &random))", nil)
      },
      Route("GET", "/v1/attachment-dependants") { [contents] random in
        ("/v1/attachment-dependants?path=\(Self.any(contents, &random))", nil)
      },
      Route("GET", "/v1/files") { [contents] random in
        ("/v1/files?path=\(Self.any(contents, &random))", nil)
      },
      Route("GET", "/v1/sandbox-events") { random in
        ("/v1/sandbox-events?after=\(UInt8.random(in: 0...255, using: &random))", nil)
      },
    ]
  }
}
