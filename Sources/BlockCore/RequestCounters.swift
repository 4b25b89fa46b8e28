import Synchronization

/// What a queue has done: counted by its thread, read by anyone.
public final class RequestCounters: Sendable {
  /// The numbers at one moment, or the sum of several queues'.
  public struct Snapshot: Sendable, Hashable, Codable {
    /// Read requests.
    public var reads: UInt64 = 0
    /// Bytes that they asked for.
    public var readBytes: UInt64 = 0
    /// Write requests.
    public var writes: UInt64 = 0
    /// Bytes that they brought.
    public var writtenBytes: UInt64 = 0
    /// Flush requests.
    public var flushes: UInt64 = 0
    /// Discard and write-zeroes requests.
    public var discards: UInt64 = 0
    /// Requests that had to wait: served in the second phase.
    public var waited: UInt64 = 0
    /// Requests that failed.
    public var failed: UInt64 = 0

    /// Nothing done.
    public init() {}

    /// A number that another release does not count is zero, and one that only it counts is left out.
    public init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      func number(_ key: CodingKeys) throws -> UInt64 {
        try container.decodeIfPresent(UInt64.self, forKey: key) ?? 0
      }
      reads = try number(.reads)
      readBytes = try number(.readBytes)
      writes = try number(.writes)
      writtenBytes = try number(.writtenBytes)
      flushes = try number(.flushes)
      discards = try number(.discards)
      waited = try number(.waited)
      failed = try number(.failed)
    }

    /// Adds another queue's numbers.
    public static func += (left: inout Snapshot, right: Snapshot) {
      left.reads += right.reads
      left.readBytes += right.readBytes
      left.writes += right.writes
      left.writtenBytes += right.writtenBytes
      left.flushes += right.flushes
      left.discards += right.discards
      left.waited += right.waited
      left.failed += right.failed
    }
  }

  private let reads = Atomic<UInt64>(0)
  private let readBytes = Atomic<UInt64>(0)
  private let writes = Atomic<UInt64>(0)
  private let writtenBytes = Atomic<UInt64>(0)
  private let flushes = Atomic<UInt64>(0)
  private let discards = Atomic<UInt64>(0)
  private let waited = Atomic<UInt64>(0)
  private let failed = Atomic<UInt64>(0)

  /// Begins at zero.
  public init() {}

  /// Counts a request.
  @inline(__always)
  public func note(_ request: BlockRequest) {
    switch request.operation {
    case .read:
      reads.wrappingAdd(1, ordering: .relaxed)
      readBytes.wrappingAdd(request.byteCount, ordering: .relaxed)
    case .write:
      writes.wrappingAdd(1, ordering: .relaxed)
      writtenBytes.wrappingAdd(request.byteCount, ordering: .relaxed)
    case .flush: flushes.wrappingAdd(1, ordering: .relaxed)
    case .discard, .writeZeroes: discards.wrappingAdd(1, ordering: .relaxed)
    }
  }

  /// Counts a request that had to wait.
  public func noteWaiting() { waited.wrappingAdd(1, ordering: .relaxed) }

  /// Counts a request that failed.
  public func noteFailure() { failed.wrappingAdd(1, ordering: .relaxed) }

  /// The numbers now; taken one after the other.
  public var snapshot: Snapshot {
    var snapshot = Snapshot()
    snapshot.reads = reads.load(ordering: .relaxed)
    snapshot.readBytes = readBytes.load(ordering: .relaxed)
    snapshot.writes = writes.load(ordering: .relaxed)
    snapshot.writtenBytes = writtenBytes.load(ordering: .relaxed)
    snapshot.flushes = flushes.load(ordering: .relaxed)
    snapshot.discards = discards.load(ordering: .relaxed)
    snapshot.waited = waited.load(ordering: .relaxed)
    snapshot.failed = failed.load(ordering: .relaxed)
    return snapshot
  }
}
