import Attachments
import BlockCore
import Engine
import FoundationEssentials
import Glibc
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Images
import LinuxIO
import Logging
import NIOCore
import Sandboxes
import ServiceLifecycle
import Synchronization
import Volumes

/// The manager's HTTP interface on a Unix socket; its routes stand in docs/api.md.
public struct APIServer: Sendable {
  private let manager: Manager
  private let sandboxes: Sandboxes
  private let volumes: Volumes
  private let services: HostServices
  private let root: String
  private let status: @Sendable (Int) -> ManagerStatus
  private let onShutdown: @Sendable () -> Void
  private let onKeep: @Sendable () -> Void
  private let onRestart: @Sendable () async throws(BlockError) -> Void

  /// Makes the interface of a manager.
  ///
  /// - Parameters:
  ///   - manager: Who does what is asked.
  ///   - sandboxes: Who does what is asked of sandboxes.
  ///   - volumes: Who does what is asked of header volumes.
  ///   - services: The host's files, for finding images.
  ///   - root: Where the manager keeps its journal.
  ///   - status: What the manager says of itself, given the number of attachments.
  ///   - onShutdown: Called when somebody asks the manager to stop.
  ///   - onKeep: Called when somebody asks the manager to stay also with nothing to do.
  ///   - onRestart: Called when somebody asks the manager to make way for the program that is installed now; throws if
  ///     that one cannot take its place.
  public init(
    _ manager: Manager, _ sandboxes: Sandboxes, _ volumes: Volumes, _ services: HostServices, root: String,
    status: @escaping @Sendable (Int) -> ManagerStatus,
    onShutdown: @escaping @Sendable () -> Void, onKeep: @escaping @Sendable () -> Void,
    onRestart: @escaping @Sendable () async throws(BlockError) -> Void
  ) {
    self.manager = manager
    self.sandboxes = sandboxes
    self.volumes = volumes
    self.services = services
    self.root = root
    self.status = status
    self.onShutdown = onShutdown
    self.onKeep = onKeep
    self.onRestart = onRestart
  }

  /// The service that listens at a socket and answers.
  ///
  /// - Parameters:
  ///   - socket: The socket's path; what stands there is removed, since only the holder of the instance's
  ///     lock comes here.
  ///   - checks: What tells that the socket may be gone; it is made anew then.
  ///   - openFiles: How many files the process may have open: connections get a part of that.
  ///   - log: Where it reports.
  public func service(
    socket: String, checks: SocketChecks, openFiles: Int, log: Logger
  ) -> some ServiceLifecycle.Service {
    unlink(socket)
    return APIListener(socket: socket, checks: checks, log: log) { onListening in
      Application(
        router: router, server: HTTPServerBuilder { HTTPChannel($0) },
        configuration: .init(
          address: .unixDomainSocket(path: socket), serverName: "ashlar",
          availableConnectionsDelegate: ConnectionBound(openFiles: openFiles, log: log)),
        onServerRunning: onListening, logger: log)
    }
  }

  private var router: Router<BasicRequestContext> {
    let router = Router()
    router.add(middleware: RequestCount(manager: manager))
    router.add(
      middleware: RootCheck(root: root) { path async throws(BlockError) in try await self.file(at: path) })
    router.get("/v1/status") { request, _ in
      try await Self.explained(request) { _ in status(await manager.attachmentCount) }
    }
    router.post("/v1/shutdown") { request, _ in
      try await Self.explained(request) { _ in
        onShutdown()
        return status(await manager.attachmentCount)
      }
    }
    router.post("/v1/keep") { request, _ in
      try await Self.explained(request) { _ in
        onKeep()
        return status(await manager.attachmentCount)
      }
    }
    router.post("/v1/restart") { request, _ in
      try await Self.explained(request) { _ async throws(BlockError) in
        try await onRestart()
        return status(await manager.attachmentCount)
      }
    }
    router.post("/v1/recover") { request, _ in
      try await Self.explained(request) { _ async throws(BlockError) in
        try await manager.examineJournal()
        try await sandboxes.examineJournal()
        var reply = try await manager.recoverUnlisted()
        if let place = sandboxes.putAside { reply.putAside.append(place) }
        return reply
      }
    }
    router.get("/v1/attachments") { request, _ in
      try await Self.explained(request) { _ in await manager.list() }
    }
    router.post("/v1/attachments") { request, _ in
      try await Self.explained(request) { _ async throws(BlockError) in
        let order = try await AttachRequest.read(request)
        let id = try AttachmentID(order.id)
        let spec = try await self.spec(for: order, id)
        return try await manager.attach(id, spec)
      }
    }
    router.get("/v1/attachment-dependants") { request, _ in
      try await Self.explained(request, taking: ["path"]) { query async throws(BlockError) in
        guard let file = try await self.file(at: try query.path("path")) else { return [AttachmentID]() }
        return try await manager.dependants(of: file)
      }
    }
    router.get("/v1/files") { request, _ in
      try await Self.explained(request, taking: ["path"]) { query async throws(BlockError) in
        let path = try query.path("path")
        guard let file = try await self.file(at: path) else {
          throw BlockError(
            .notFound, step: "look at", object: path, cause: "there is no such file",
            remedy: "Check the path; it is the manager's, whose mounts may be others than yours.")
        }
        return FileReply(file)
      }
    }
    router.get("/v1/attachments/:id") { request, context in
      try await Self.explained(request) { _ async throws(BlockError) in
        try await manager.inspect(try Self.id(context))
      }
    }
    router.delete("/v1/attachments/:id") { request, context in
      try await Self.explained(request, taking: ["force"]) { query async throws(BlockError) in
        try await manager.detach(try Self.id(context), force: try query.flag("force"))
      }
    }
    router.post("/v1/attachments/:id/hand-over") { request, context in
      try await Self.explained(request) { _ async throws(BlockError) in
        try await manager.handOver(try Self.id(context))
      }
    }
    router.post("/v1/attachments/:id/reset") { request, context in
      try await Self.explained(request) { _ async throws(BlockError) in
        let order = try await ResetRequest.read(request)
        let id = try Self.id(context)
        guard order.flushError == true else {
          throw BlockError(
            .invalidArgument, step: "reset", object: id.text, cause: "nothing is named that is to be reset",
            remedy: "Send {\"flushError\": true}.")
        }
        return try await manager.resetFlushFailure(id)
      }
    }
    SandboxRoutes(sandboxes: sandboxes, manager: manager).add(to: router)
    VolumeRoutes(volumes: volumes, sandboxes: sandboxes).add(to: router)
    return router
  }

  /// The file at a path; `nil` if there is none.
  private func file(at path: String) async throws(BlockError) -> FileIdentity? {
    try await manager.looks.look(at: path, step: "look at", object: path, within: Limits.lookTime) {
      () async throws(BlockError) in LinuxFileSystem.identity(of: path)
    }
  }

  /// What an order asks to be attached, with everything resolved that may change.
  private func spec(for order: AttachRequest, _ id: AttachmentID) async throws(BlockError) -> AttachmentSpec {
    let transport: TransportChoice = try Self.choice(order.transport, "transport", or: .auto, order.id)
    let server: BackstoreChoice = try Self.choice(order.backstore, "backstore", or: .auto, order.id)
    let reference = try ImageReference(absolute: order.image)
    let isKnown = await manager.isKnown(id)
    let files = services.files
    let (path, configuration) = try await manager.looks.look(
      at: reference.path, step: "attach", object: id.text, within: Limits.lookTime
    ) { () async throws(BlockError) in
      let found = try await reference.identity(in: files)
      if !isKnown {
        try await ImageReference(reference.scheme, found.path, relativeTo: "/").checkIsNoContainer(in: files)
      }
      return found
    }
    // Once it is decided that a file's bytes are meant, the image is a raw one as any other.
    let scheme = reference.scheme == .rawBytes ? ImageReference.Scheme.raw : reference.scheme
    var spec = AttachmentSpec(
      scheme: scheme?.rawValue, path: path, configuration: configuration, transport: transport,
      isReadOnly: order.readOnly ?? false, isShared: order.shared ?? false ? true : nil)
    if transport == .tcmu {
      spec.backstore = try await .attachment(
        id, path: reference.path, isOverlayBD: configuration != nil || reference.scheme == .overlaybd,
        choice: server, withDevID: order.withDevID ?? false)
    }
    return spec
  }

  /// One of the words that an order may hold.
  private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ word: String?, _ what: String, or usual: Choice, _ object: String
  ) throws(BlockError) -> Choice {
    guard let word else { return usual }
    guard let choice = Choice(rawValue: word) else {
      let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
      throw BlockError(
        .unsupported, step: "attach", object: object, cause: "the \(what) \(word) is not known",
        remedy: "Known are \(known).")
    }
    return choice
  }

  private static func id(_ context: BasicRequestContext) throws(BlockError) -> AttachmentID {
    try AttachmentID(try component("id", context))
  }

  /// A component of a request's path, its escapes undone.
  ///
  /// - Throws: `invalidArgument` for bytes that are not UTF-8.
  static func component(_ name: String, _ context: BasicRequestContext) throws(BlockError) -> String {
    try RequestText.unescaped((context.parameters.get(name) ?? "")[...], of: "the request's path")
  }

  /// Runs a body and turns its error into an answer.
  ///
  /// - Parameters:
  ///   - request: What is answered.
  ///   - keys: Those that its query may have; another one is refused.
  ///   - body: Given the query.
  static func explained<Body: Encodable & Sendable>(
    _ request: Request, taking keys: [String] = [],
    _ body: (RequestQuery) async throws(BlockError) -> Body
  ) async throws -> Response {
    let course = AttachCourse()
    do throws(BlockError) {
      let query = try RequestQuery(request, taking: keys)
      return try reply(
        try await course.recording { () async throws(BlockError) in try await body(query) })
    } catch {
      let steps = course.steps
      return try reply(
        ErrorReply(error, course: steps.isEmpty ? nil : steps), status: httpStatus(of: error.kind))
    }
  }

  /// As ``explained(_:taking:_:)``, on threads that may wait: for journals and the kernel's lists.
  static func explainedWaiting<Body: Encodable & Sendable>(
    _ request: Request, taking keys: [String] = [],
    _ body: (RequestQuery) async throws(BlockError) -> Body
  ) async throws -> Response {
    try await withTaskExecutorPreference(Blocking.executor) {
      try await explained(request, taking: keys, body)
    }
  }

  /// As ``explainedWaiting(_:taking:_:)``, for what waits for disks that others have named; refused when too much does.
  ///
  /// Who only asks what there is always finds a thread.
  static func explainedVerb<Body: Encodable & Sendable>(
    _ request: Request, taking keys: [String] = [],
    _ body: (RequestQuery) async throws(BlockError) -> Body
  ) async throws -> Response {
    let isTaken = verbs.withLock { count in
      guard count < Limits.waitingVerbs else { return false }
      count += 1
      return true
    }
    defer { if isTaken { verbs.withLock { $0 -= 1 } } }
    return try await explainedWaiting(request, taking: keys) { query async throws(BlockError) in
      guard isTaken else {
        throw BlockError(
          .exhausted, step: "take", object: "the request", cause: "\(Limits.waitingVerbs) wait already",
          remedy: "Look at what the disks do that they name.")
      }
      return try await body(query)
    }
  }

  /// Requests under way that may wait for such disks.
  private static let verbs = Mutex(0)

  /// The answer to a request that fails before anything is done.
  static func refusal(_ error: BlockError) throws(BlockError) -> Response {
    try reply(ErrorReply(error), status: httpStatus(of: error.kind))
  }

  private static func reply(_ body: some Encodable, status: HTTPResponse.Status = .ok) throws(BlockError)
    -> Response
  {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      var buffer = ByteBuffer(bytes: try encoder.encode(body))
      buffer.writeString("\n")
      return Response(
        status: status, headers: [.contentType: "application/json"], body: .init(byteBuffer: buffer))
    } catch {
      throw BlockError(.ioError, step: "encode", object: "an answer", cause: "\(error)")
    }
  }

  private static func httpStatus(of kind: BlockError.Kind) -> HTTPResponse.Status {
    switch kind {
    case .invalidArgument, .outOfRange: .badRequest
    case .notFound: .notFound
    case .permissionDenied, .readOnly: .forbidden
    case .conflict, .busy: .conflict
    case .corrupt, .checksumMismatch, .unsupported: .unprocessableContent
    case .timedOut: .gatewayTimeout
    case .exhausted, .noSpace: .insufficientStorage
    case .unavailable, .disconnected: .serviceUnavailable
    case .ioError, .cancelled: .internalServerError
    }
  }
}

extension HTTPResponse.Status {
  /// 507, which no registered name of the library covers.
  fileprivate static var insufficientStorage: HTTPResponse.Status {
    HTTPResponse.Status(code: 507, reasonPhrase: "Insufficient Storage")
  }
}
