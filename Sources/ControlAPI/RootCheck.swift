import Attachments
import BlockCore
import FoundationEssentials
import HTTPTypes
import Hummingbird
import LinuxIO

/// Refuses what is meant for another journal: `Ashlar-Root` names the one that the client has named, percent-encoded.
struct RootCheck: RouterMiddleware {
  /// Where the manager keeps its journal.
  let root: String

  func handle(
    _ request: Request, context: BasicRequestContext,
    next: @concurrent (Request, BasicRequestContext) async throws -> Response
  ) async throws -> Response {
    guard let header = HTTPField.Name(ManagerStatus.rootHeader), let sent = request.headers[header] else {
      return try await next(request, context)
    }
    let named = URLComponents(string: "file://\(sent)")?.path ?? sent
    if named == root || isOurs(named) { return try await next(request, context) }
    return try APIServer.reply(
      ErrorReply(
        BlockError(
          .conflict, step: "speak to", object: "the manager", cause: "its root is \(root), not \(named)",
          remedy:
            "Name that one, or another run directory, too (--root, ASHLAR_ROOT, --run, ASHLAR_RUN).")),
      status: .conflict)
  }

  /// Whether a path is another name of our root.
  private func isOurs(_ path: String) -> Bool {
    guard let ours = LinuxFileSystem.identity(of: root) else { return false }
    return LinuxFileSystem.identity(of: path) == ours
  }
}
