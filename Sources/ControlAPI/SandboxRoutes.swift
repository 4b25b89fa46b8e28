import Attachments
import BlockCore
import Engine
import Hummingbird
import LinuxIO
import Sandboxes

/// The part of the HTTP interface that is about sandboxes; its routes stand in docs/api.md.
struct SandboxRoutes: Sendable {
  let sandboxes: Sandboxes
  let manager: Manager

  func add(to router: Router<BasicRequestContext>) {
    router.get("/v1/sandboxes") { request, _ in
      try await APIServer.explainedWaiting(request) { _ async throws(BlockError) in try await sandboxes.list()
      }
    }
    router.post("/v1/sandboxes") { request, _ in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        try await sandboxes.create(try await SandboxRequest.read(request))
      }
    }
    router.post("/v1/sandboxes/gc") { request, _ in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        SandboxGone(removed: try await sandboxes.collectGarbage())
      }
    }
    router.get("/v1/sandbox-events") { request, _ in
      try await APIServer.explainedWaiting(request, taking: ["after"]) { query async throws(BlockError) in
        sandboxes.events(after: try query.number("after") ?? 0)
      }
    }
    router.get("/v1/sandbox-dependants") { request, _ in
      try await APIServer.explainedVerb(request, taking: ["path"]) { query async throws(BlockError) in
        try sandboxes.dependants(of: try query.path("path"))
      }
    }
    router.get("/v1/sandboxes/:name") { request, context in
      try await APIServer.explainedWaiting(request) { _ async throws(BlockError) in
        try await sandboxes.inspect(try Self.name(context))
      }
    }
    router.delete("/v1/sandboxes/:name") { request, context in
      try await APIServer.explainedVerb(request, taking: ["force"]) { query async throws(BlockError) in
        let name = try Self.name(context)
        try await sandboxes.remove(name, isForced: try query.flag("force"))
        return SandboxGone(removed: [name.text])
      }
    }
    addVerbs(to: router)
  }

  private func addVerbs(to router: Router<BasicRequestContext>) {
    router.post("/v1/sandboxes/:name/pause") { request, context in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        try await sandboxes.pause(try Self.name(context))
      }
    }
    router.post("/v1/sandboxes/:name/resume") { request, context in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        try await sandboxes.resume(try Self.name(context))
      }
    }
    router.post("/v1/sandboxes/:name/fork") { request, context in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        let body = try await SandboxTarget.read(request)
        return try await sandboxes.fork(try Self.name(context), as: try SandboxName(body.target))
      }
    }
    router.post("/v1/sandboxes/:name/flatten") { request, context in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        let body = try await SandboxTarget.read(request)
        if body.replace == true { try await checkIsNotAttached(body.target) }
        return try await sandboxes.flatten(
          try Self.name(context), to: body.target, replaces: body.replace ?? false)
      }
    }
    router.post("/v1/sandboxes/:name/merge") { request, context in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        let name = try Self.name(context)
        try await sandboxes.merge(name)
        return SandboxGone(removed: [name.text])
      }
    }
    router.delete("/v1/sandboxes/:name/work") { request, context in
      try await APIServer.explainedWaiting(request) { _ async throws(BlockError) in
        let name = try Self.name(context)
        return SandboxGone(removed: sandboxes.cancelWork(of: name) ? [name.text] : [])
      }
    }
  }

  /// Refuses to replace a file that an attached disk is made of.
  private func checkIsNotAttached(_ path: String) async throws(BlockError) {
    guard let file = LinuxFileSystem.identity(of: path) else { return }
    let ids = try await manager.dependants(of: file).map(\.text)
    guard ids.isEmpty else {
      throw BlockError(
        .conflict, step: "flatten to", object: path,
        cause: "\(ids.joined(separator: ", ")) is attached and uses it",
        remedy: "Choose another file, or detach it first: ashlar detach.")
    }
  }

  private static func name(_ context: BasicRequestContext) throws(BlockError) -> SandboxName {
    try SandboxName(try APIServer.component("name", context))
  }
}
