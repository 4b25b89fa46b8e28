import Engine
import Hummingbird

/// Keeps the manager from ending for want of something to do while a request is under way: one that only waits until a disk
/// has answered what stands at a path is not known to it yet.
struct RequestCount: RouterMiddleware {
  let manager: Manager

  func handle(
    _ request: Request, context: BasicRequestContext,
    next: @concurrent (Request, BasicRequestContext) async throws -> Response
  ) async throws -> Response {
    try await manager.answering { try await next(request, context) }
  }
}
