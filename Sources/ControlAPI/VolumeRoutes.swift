import Attachments
import BlockCore
import Hummingbird
import Sandboxes
import Volumes

/// The part of the HTTP interface that is about header volumes; its routes stand in docs/api.md.
struct VolumeRoutes: Sendable {
  let volumes: Volumes
  let sandboxes: Sandboxes

  func add(to router: Router<BasicRequestContext>) {
    router.get("/v1/volumes") { request, _ in
      try await APIServer.explainedWaiting(request) { _ async throws(BlockError) in try await volumes.list() }
    }
    router.post("/v1/volumes") { request, _ in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        try await volumes.map(try await VolumeMapRequest.read(request))
      }
    }
    router.delete("/v1/volumes/:name") { request, context in
      try await APIServer.explainedVerb(request, taking: ["force"]) { query async throws(BlockError) in
        try await volumes.unmap(try APIServer.component("name", context), isForced: try query.flag("force"))
        return DetachReply(gone: true)
      }
    }
    router.get("/v1/volume-content") { request, _ in
      try await APIServer.explainedVerb(request, taking: ["volume"]) { query async throws(BlockError) in
        try await volumes.check(try query.path("volume"))
      }
    }
    router.post("/v1/volume-content") { request, _ in
      try await APIServer.explainedVerb(request) { _ async throws(BlockError) in
        let body = try await VolumeFormatRequest.read(request)
        try sandboxes.checkIsNobodys(body.volume, "format")
        return try await volumes.format(body)
      }
    }
    router.delete("/v1/volume-work") { request, _ in
      try await APIServer.explainedWaiting(request, taking: ["volume"]) { query async throws(BlockError) in
        let volume = try query.path("volume")
        return SandboxGone(removed: try volumes.cancelFormat(of: volume) ? [volume] : [])
      }
    }
  }

}
