import BlockCore
import Synchronization

/// A disk in memory that may wait, fail, grow, and tell which of its blocks were written.
final class ScriptedDisk: ExtentReporting {
  struct State {
    var bytes: [UInt8]
    var mapped: [Bool]
    var failing: [BlockRequest.Operation: BlockError.Kind] = [:]
    var log: [BlockRequest] = []
    var keepsLog = true
    /// Every so many requests have to wait; 0 for none.
    var waitEvery = 0
    var requestCount = 0
  }

  let state: Mutex<State>
  private let blockSize: Int
  private let isReadOnly: Bool
  private let canDiscard: Bool

  init(
    blocks: Int = 2048, blockSize: Int = 512, isReadOnly: Bool = false, canDiscard: Bool = true,
    waitEvery: Int = 0
  ) {
    var state = State(
      bytes: [UInt8](repeating: 0, count: blocks * blockSize), mapped: Array(repeating: false, count: blocks))
    state.waitEvery = waitEvery
    for index in state.bytes.indices {
      state.bytes[index] = UInt8(truncatingIfNeeded: index / blockSize &* 7 &+ index)
    }
    self.state = Mutex(state)
    self.blockSize = blockSize
    self.isReadOnly = isReadOnly
    self.canDiscard = canDiscard
  }

  var geometry: VolumeGeometry {
    VolumeGeometry(
      byteCount: UInt64(state.withLock { $0.bytes.count }), logicalBlockSize: blockSize,
      isReadOnly: isReadOnly,
      canDiscard: canDiscard)
  }

  var content: [UInt8] { state.withLock { $0.bytes } }
  var log: [BlockRequest] { state.withLock { $0.log } }

  func grow(toBlocks blocks: Int) {
    state.withLock { state in
      state.bytes += [UInt8](repeating: 0, count: blocks * blockSize - state.bytes.count)
      state.mapped += [Bool](repeating: false, count: blocks - state.mapped.count)
    }
  }

  func fail(_ operation: BlockRequest.Operation, as kind: BlockError.Kind?) {
    state.withLock { $0.failing[operation] = kind }
  }

  func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    let mustWait = state.withLock { state in
      guard state.waitEvery > 0 else { return false }
      state.requestCount += 1
      return state.requestCount % state.waitEvery == 0
    }
    if mustWait { return .mustWait }
    try apply(request, &data)
    return .done
  }

  func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    await Task.yield()
    try apply(request, &data)
  }

  private func apply(_ request: BlockRequest, _ data: inout MutableRawSpan) throws(BlockError) {
    let failing = state.withLock { state in
      if state.keepsLog { state.log.append(request) }
      return state.failing[request.operation]
    }
    if let failing {
      throw BlockError(failing, step: "\(request.operation)", object: "the disk", cause: "so the test wants")
    }
    let range = Int(request.offset)..<Int(request.offset + request.byteCount)
    let blocks = range.lowerBound / blockSize..<range.upperBound / blockSize
    data.withUnsafeMutableBytes { memory in
      state.withLock { state in
        state.bytes.withUnsafeMutableBytes { bytes in
          let part = UnsafeMutableRawBufferPointer(rebasing: bytes[range])
          switch request.operation {
          case .read: memory.copyMemory(from: UnsafeRawBufferPointer(part))
          case .write: part.copyMemory(from: UnsafeRawBufferPointer(memory))
          case .discard, .writeZeroes: part.initializeMemory(as: UInt8.self, repeating: 0)
          case .flush: break
          }
        }
        if request.operation.isWrite {
          let isMapped = request.operation == .write || !request.flags.contains(.mayUnmap)
          for block in blocks { state.mapped[block] = isMapped }
        }
      }
    }
  }

  func dataExtents() async throws(BlockError) -> [Range<UInt64>] {
    state.withLock { state in
      state.mapped.indices.filter { state.mapped[$0] }.map {
        UInt64($0 * blockSize)..<UInt64(($0 + 1) * blockSize)
      }
    }
  }
}
