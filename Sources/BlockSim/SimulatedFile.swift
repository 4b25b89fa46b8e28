import BlockCore
import Synchronization

/// A file in memory, on a disk that can be slow, fail, and lose its power.
///
/// A write is in the cache until the file is synchronized; what of the cache a power cut leaves on the
/// disk is decided sector by sector by ``SimulatedDisk/cutPower()``.
public final class SimulatedFile: BlockFile {
  struct State {
    /// What a reader sees.
    var content: [UInt8]
    /// What is on the disk for certain.
    var durable: [UInt8]
    /// Sectors that were written since the last synchronization.
    var dirty: Set<Int> = []
    /// Allocated pages, for ``dataExtents(from:)``.
    var allocated: Set<Int> = []
  }

  static let sector = Int(VolumeGeometry.sectorSize)
  static let page = 4096

  let state: Mutex<State>
  private let conditions: DiskConditions
  public let name: String
  public let identity: FileIdentity
  public let flushes = FlushLine()
  public let isWritable: Bool
  public var byteCount: UInt64 { state.withLock { UInt64($0.content.count) } }

  init(_ conditions: DiskConditions, name: String, content: [UInt8], inode: UInt64, isWritable: Bool = true) {
    self.conditions = conditions
    self.name = name
    self.isWritable = isWritable
    identity = FileIdentity(device: 0, inode: inode)
    state = Mutex(
      State(
        content: content, durable: content,
        allocated: Set(0..<(content.count + Self.page - 1) / Self.page)))
  }

  public func extend(to byteCount: UInt64) async throws(BlockError) {
    guard isWritable else {
      throw BlockError(.readOnly, step: "set the size of", object: name, cause: "it is open for reading only")
    }
    state.withLock { state in
      let more = max(Int(byteCount) - state.content.count, 0)
      state.content += [UInt8](repeating: 0, count: more)
      state.durable += [UInt8](repeating: 0, count: more)
    }
  }

  /// A simulated file has no times.
  public func currentState() -> FileState {
    FileState(device: identity.device, inode: identity.inode, byteCount: byteCount, modified: 0)
  }

  /// What a reader sees now.
  public var content: [UInt8] { state.withLock { $0.content } }

  public func readNow(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    try checkRange(at: offset, byteCount: destination.byteCount)
    if conditions.makesWait() { return .mustWait }
    try fill(at: offset, &destination)
    return .done
  }

  public func read(
    at offset: UInt64, into destination: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    try checkRange(at: offset, byteCount: destination.byteCount)
    await Task.yield()
    try fill(at: offset, &destination)
  }

  private func fill(at offset: UInt64, _ destination: inout MutableRawSpan) throws(BlockError) {
    try conditions.operate("read", on: name)
    let start = Int(offset)
    let content = state.withLock { $0.content }
    destination.withUnsafeMutableBytes { bytes in
      content.withUnsafeBytes { source in
        bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[start..<start + bytes.count]))
      }
    }
  }

  public func writeNow(at offset: UInt64, from data: RawSpan) throws(BlockError) -> ServeOutcome {
    if conditions.makesWait() { return .mustWait }
    try store(at: offset, data)
    return .done
  }

  public func write(at offset: UInt64, from data: RawSpan, isDurable: Bool) async throws(BlockError) {
    try store(at: offset, data)
    // As on Linux: in line with the flushes.
    if isDurable { try await synchronize() }
  }

  private func store(at offset: UInt64, _ data: RawSpan) throws(BlockError) {
    try change(Int(offset)..<Int(offset) + data.byteCount) { content, range in
      data.withUnsafeBytes { content.replaceSubrange(range, with: $0) }
    }
  }

  private func change(
    _ range: Range<Int>, allocates: Bool = true, _ body: (inout [UInt8], Range<Int>) -> Void
  ) throws(BlockError) {
    try conditions.operate("write", on: name)
    guard isWritable else {
      throw BlockError(.readOnly, step: "write", object: name, cause: "it is open for reading only")
    }
    try checkRange(at: UInt64(range.lowerBound), byteCount: range.count)
    guard !range.isEmpty else { return }
    state.withLock { state in
      body(&state.content, range)
      state.dirty.formUnion(range.lowerBound / Self.sector...(range.upperBound - 1) / Self.sector)
      if allocates {
        state.allocated.formUnion(range.lowerBound / Self.page...(range.upperBound - 1) / Self.page)
      } else {
        // Only whole pages are given back.
        let first = (range.lowerBound + Self.page - 1) / Self.page
        let end = range.upperBound / Self.page
        if first < end { state.allocated.subtract(first..<end) }
      }
    }
  }

  static func settle(_ number: Int, _ state: inout State) {
    let range = number * sector..<min((number + 1) * sector, state.content.count)
    state.durable.replaceSubrange(range, with: state.content[range])
    state.dirty.remove(number)
  }

  public func synchronize() async throws(BlockError) {
    try await flushes.join(name, now: { .zero }) { () throws(BlockError) in
      try conditions.operate("flush", on: name)
      state.withLock { state in
        for number in state.dirty { Self.settle(number, &state) }
      }
    }
  }

  public func punchHole(_ range: Range<UInt64>) async throws(BlockError) {
    try change(Int(range.lowerBound)..<Int(range.upperBound), allocates: false) { content, range in
      content.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
  }

  public func zero(_ range: Range<UInt64>) async throws(BlockError) {
    try change(Int(range.lowerBound)..<Int(range.upperBound)) { content, range in
      content.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
  }

  public func dataExtents(from start: UInt64) async throws(BlockError) -> [Range<UInt64>] {
    let pages = state.withLock { $0.allocated }.sorted()
    var extents: [Range<UInt64>] = []
    for page in pages {
      let low = max(UInt64(page * Self.page), start)
      let high = min(UInt64((page + 1) * Self.page), byteCount)
      guard low < high else { continue }
      if let last = extents.last, last.upperBound == low {
        extents[extents.count - 1] = last.lowerBound..<high
      } else {
        extents.append(low..<high)
      }
    }
    return extents
  }
}
