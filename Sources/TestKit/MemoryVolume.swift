import BlockCore
import Synchronization

/// A disk in memory, for tests of what stands on volumes.
public final class MemoryVolume: ExtentReporting {
  private let bytes: Mutex<[UInt8]>
  private let requests = Mutex<[BlockRequest]>([])
  public let geometry: VolumeGeometry
  /// Whether every request has to wait.
  private let waits: Bool

  /// Makes a disk of some content.
  public init(_ content: [UInt8], isReadOnly: Bool = false, waits: Bool = false, logicalBlockSize: Int = 512)
  {
    bytes = Mutex(content)
    self.waits = waits
    geometry = VolumeGeometry(
      byteCount: UInt64(content.count), logicalBlockSize: logicalBlockSize, isReadOnly: isReadOnly,
      canDiscard: !isReadOnly)
  }

  /// The content now.
  public var content: [UInt8] { bytes.withLock { $0 } }

  /// What was asked of it, in order.
  public var log: [BlockRequest] { requests.withLock { $0 } }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    if waits { return .mustWait }
    apply(request, &data)
    return .done
  }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    await Task.yield()
    apply(request, &data)
  }

  private func apply(_ request: BlockRequest, _ data: inout MutableRawSpan) {
    requests.withLock { $0.append(request) }
    let range = Int(request.offset)..<Int(request.offset + request.byteCount)
    bytes.withLock { bytes in
      switch request.operation {
      case .read:
        data.withUnsafeMutableBytes { target in
          bytes.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[range])) }
        }
      case .write: data.withUnsafeMutableBytes { bytes.replaceSubrange(range, with: $0) }
      case .discard, .writeZeroes: bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
      case .flush: break
      }
    }
  }

  public func dataExtents() async throws(BlockError) -> [Range<UInt64>] { [0..<geometry.byteCount] }
}
