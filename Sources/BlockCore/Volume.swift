/// What the first phase of serving came to.
@frozen
public enum ServeOutcome: Sendable {
  /// The request is done.
  case done
  /// The request has to wait, for a disk or a network; nothing of it counts as done. Ask the second phase.
  case mustWait
}

/// A disk: something that serves block requests.
///
/// A request is served in two phases of one protocol, so that a volume says in one place what it can do
/// at once. A transport calls ``performNow(_:data:using:)`` on the thread that took the request from the
/// kernel; only if the answer is ``ServeOutcome/mustWait`` does it hand the request to a task, which calls
/// ``perform(_:data:using:)``.
///
/// Implementations serve; they do not check: the two `perform` functions have checked every request
/// against the volume's geometry before. A volume is shared by all queues and must not make one queue
/// wait for another in the first phase.
public protocol Volume: AnyObject, Sendable {
  /// The size and limits; constant while the volume is open, but for growth.
  var geometry: VolumeGeometry { get }

  /// Serves a request if that takes no waiting: the first phase.
  ///
  /// It allocates no memory and takes no lock that another queue holds for long.
  ///
  /// - Parameters:
  ///   - request: A valid request.
  ///   - data: What a read fills and a write takes, of the request's length; empty otherwise. After
  ///     ``ServeOutcome/mustWait`` its content is undefined for a read.
  ///   - workspace: The calling thread's own.
  /// - Throws: A `BlockError` if the request has failed for good.
  func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome

  /// Serves a request, waiting as long as it takes: the second phase. The parameters are those of the first.
  func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError)
}

extension Volume {
  /// Checks a request and serves it if that takes no waiting; see ``serveNow(_:data:using:)``.
  ///
  /// - Throws: What ``BlockRequest/validate(for:dataCount:)`` throws, and what the volume throws.
  @inlinable
  public func performNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try request.validate(for: geometry, dataCount: data.byteCount)
    return try serveNow(request, data: &data, using: workspace)
  }

  /// Checks a request and serves it, at once where that is possible, waiting where it is not.
  ///
  /// - Throws: What ``BlockRequest/validate(for:dataCount:)`` throws, and what the volume throws.
  @inlinable
  public func perform(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try request.validate(for: geometry, dataCount: data.byteCount)
    try await serveAnyhow(request, data: &data, using: workspace)
  }

  /// Both phases of an already valid request, for volumes that stand on volumes.
  @inlinable
  public func serveAnyhow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    if try serveNow(request, data: &data, using: workspace) == .mustWait {
      try await serve(request, data: &data, using: workspace)
    }
  }

  /// Reads a range into newly allocated memory: for tools and tests, not for the request path.
  ///
  /// - Throws: As ``perform(_:data:using:)``.
  public func read(
    at offset: UInt64, byteCount: Int, using workspace: Workspace
  ) async throws(BlockError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try await perform(
      BlockRequest(.read, at: offset, byteCount: UInt64(byteCount)), data: &raw, using: workspace)
    return bytes
  }
}
