import Attachments
import BlockCore
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// Refuses what is meant for another journal: `Ashlar-Root` names the one that the client has named, percent-encoded.
struct RootCheck: RouterMiddleware {
  /// Where the manager keeps its journal.
  let root: String
  /// Looks for the file at a path, whose disk may not answer.
  let file: @Sendable (String) async throws(BlockError) -> FileIdentity?

  func handle(
    _ request: Request, context: BasicRequestContext,
    next: @concurrent (Request, BasicRequestContext) async throws -> Response
  ) async throws -> Response {
    if let header = HTTPField.Name(ManagerStatus.rootHeader), let sent = request.headers[header] {
      do throws(BlockError) {
        try await check(URLComponents(string: "file://\(sent)")?.path ?? sent)
      } catch {
        return try APIServer.refusal(error)
      }
    }
    return try await next(request, context)
  }

  /// Throws unless a path is our root, or another name of it.
  private func check(_ named: String) async throws(BlockError) {
    if named == root { return }
    if let ours = try await file(root), try await file(named) == ours { return }
    throw BlockError(
      .conflict, step: "speak to", object: "the manager", cause: "its root is \(root), not \(named)",
      remedy: "Name that one, or another run directory, too (--root, ASHLAR_ROOT, --run, ASHLAR_RUN).")
  }
}
