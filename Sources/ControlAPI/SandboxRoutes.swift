import Attachments
import BlockCore
import Hummingbird
import LinuxIO
import Sandboxes

/// The part of the HTTP interface that is about sandboxes; its routes stand in docs/api.md.
struct SandboxRoutes: Sendable {
  let sandboxes: Sandboxes

  func add(to router: Router<BasicRequestContext>) {
    router.get("/v1/sandboxes") { _, _ in
      try await APIServer.explainedWaiting { () async throws(BlockError) in try await sandboxes.list() }
    }
    router.post("/v1/sandboxes") { request, _ in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        try await sandboxes.create(try await SandboxRequest.read(request))
      }
    }
    router.post("/v1/sandboxes/gc") { _, _ in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        SandboxGone(removed: try await sandboxes.collectGarbage())
      }
    }
    router.get("/v1/sandbox-events") { request, _ in
      let after = request.uri.queryParameters["after"].flatMap { UInt64($0) } ?? 0
      return try await APIServer.explainedWaiting { () async throws(BlockError) in
        sandboxes.events(after: after)
      }
    }
    router.get("/v1/sandbox-dependants") { request, _ in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        try sandboxes.dependants(of: try APIServer.path("path", of: request))
      }
    }
    router.get("/v1/sandboxes/:name") { _, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        try await sandboxes.inspect(try Self.name(context))
      }
    }
    router.delete("/v1/sandboxes/:name") { request, context in
      let isForced = request.uri.queryParameters["force"] == "true"
      return try await APIServer.explainedWaiting { () async throws(BlockError) in
        let name = try Self.name(context)
        try await sandboxes.remove(name, isForced: isForced)
        return SandboxGone(removed: [name.text])
      }
    }
    addVerbs(to: router)
  }

  private func addVerbs(to router: Router<BasicRequestContext>) {
    router.post("/v1/sandboxes/:name/pause") { _, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        try await sandboxes.pause(try Self.name(context))
      }
    }
    router.post("/v1/sandboxes/:name/resume") { _, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        try await sandboxes.resume(try Self.name(context))
      }
    }
    router.post("/v1/sandboxes/:name/fork") { request, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        let body = try await SandboxTarget.read(request)
        return try await sandboxes.fork(try Self.name(context), as: try SandboxName(body.target))
      }
    }
    router.post("/v1/sandboxes/:name/flatten") { request, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        let body = try await SandboxTarget.read(request)
        return try await sandboxes.flatten(
          try Self.name(context), to: body.target, replaces: body.replace ?? false)
      }
    }
    router.post("/v1/sandboxes/:name/merge") { _, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        let name = try Self.name(context)
        try await sandboxes.merge(name)
        return SandboxGone(removed: [name.text])
      }
    }
    router.delete("/v1/sandboxes/:name/work") { _, context in
      try await APIServer.explainedWaiting { () async throws(BlockError) in
        let name = try Self.name(context)
        return SandboxGone(removed: sandboxes.cancelWork(of: name) ? [name.text] : [])
      }
    }
  }

  private static func name(_ context: BasicRequestContext) throws(BlockError) -> SandboxName {
    try SandboxName(context.parameters.get("name") ?? "")
  }
}
