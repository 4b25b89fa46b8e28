import Synchronization

/// A volume that notes what is asked of it: order, range, duration, outcome.
///
/// It is an instrument: it takes a lock for every request, which the request path otherwise never does.
public final class TraceVolume: Volume {
  /// One request as it went.
  public struct Record: Sendable, Hashable {
    /// What was asked.
    public let request: BlockRequest
    /// When it came, by the trace's clock.
    public let start: Duration
    /// How long it took.
    public let duration: Duration
    /// Whether it had to wait: whether the second phase served it.
    public let waited: Bool
    /// What it failed with; `nil` if it did not.
    public let failure: BlockError.Kind?
  }

  private struct Ring {
    var records: [Record] = []
    var next = 0
    var total: UInt64 = 0
  }

  private let base: any Volume
  private let clock: any HostClock
  private let capacity: Int
  private let ring = Mutex(Ring())
  public let geometry: VolumeGeometry

  /// Makes a traced view of a volume.
  ///
  /// - Parameters:
  ///   - base: The volume that serves.
  ///   - capacity: How many of the last requests are kept.
  ///   - clock: What times them.
  public init(_ base: any Volume, capacity: Int = 4096, clock: any HostClock) {
    precondition(capacity > 0, "a trace of nothing")
    self.base = base
    self.clock = clock
    self.capacity = capacity
    self.geometry = base.geometry
  }

  /// The last requests, oldest first.
  public var records: [Record] {
    ring.withLock { ring in
      Array(ring.records[ring.next...]) + Array(ring.records[..<ring.next])
    }
  }

  /// How many requests have come since the start.
  public var totalCount: UInt64 { ring.withLock { $0.total } }

  private func note(_ request: BlockRequest, since start: Duration, waited: Bool, _ failure: BlockError.Kind?)
  {
    let record = Record(
      request: request, start: start, duration: clock.now - start, waited: waited, failure: failure)
    ring.withLock { ring in
      ring.total += 1
      if ring.records.count < capacity {
        ring.records.append(record)
      } else {
        ring.records[ring.next] = record
        ring.next = (ring.next + 1) % capacity
      }
    }
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    let start = clock.now
    do {
      let service = try base.serveNow(request, data: &data, using: workspace)
      if service == .done { note(request, since: start, waited: false, nil) }
      return service
    } catch {
      note(request, since: start, waited: false, error.kind)
      throw error
    }
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let start = clock.now
    do {
      try await base.serve(request, data: &data, using: workspace)
    } catch {
      note(request, since: start, waited: true, error.kind)
      throw error
    }
    note(request, since: start, waited: true, nil)
  }
}
