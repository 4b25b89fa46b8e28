import BlockCore

/// READ and WRITE.
///
/// The buffer may be shorter or longer than what the CDB says; the shorter of the two is transferred. A read fills a
/// short buffer to its last byte; a write writes the blocks that have come as a whole.
extension LogicalUnit {
  /// Checks a transfer and says which bytes of the disk it moves where.
  @inline(__always)
  private func stream(_ transfer: Transfer, _ command: Command) throws(SenseData) -> BlockStream {
    try admit(transfer.isWrite ? [.medium, .writes] : .medium)
    if transfer.asksTooMuch { throw .invalidFieldInCDB }
    let whole = try range(transfer.lba, transfer.blocks)
    let blockSize = volume.geometry.logicalBlockSize
    let count = min(Int(whole.upperBound - whole.lowerBound), command.data.byteCount)
    let moved = (transfer.isWrite ? count : count + blockSize - 1) / blockSize * blockSize
    return BlockStream(
      isWrite: transfer.isWrite, flags: transfer.isWrite ? writeFlags(transfer.forcesUnitAccess) : [],
      range: whole.lowerBound..<whole.lowerBound + UInt64(moved), cursor: PieceCursor(command.data),
      blockSize: blockSize)
  }

  /// How to write: through the cache if there is none, or the command says so.
  @inline(__always)
  func writeFlags(_ forcesUnitAccess: Bool) -> BlockRequest.Flags {
    forcesUnitAccess || conditions.now.contains(.writeThrough) ? .forceUnitAccess : []
  }

  /// The result of a transfer; what is behind the CDB's end in a longer buffer is not valid.
  @inline(__always)
  private func done(_ transfer: Transfer, _ command: Command) -> CommandResult {
    if transfer.isWrite { return .good }
    let count = transfer.blocks * UInt64(volume.geometry.logicalBlockSize)
    return CommandResult(
      .good, dataInCount: count < UInt64(command.data.byteCount) ? Int(count) : nil)
  }

  /// Serves a transfer if that takes no waiting.
  func transferNow(
    _ transfer: Transfer, _ command: Command, _ workspace: Workspace
  ) throws(SenseData) -> CommandResult? {
    var stream = try stream(transfer, command)
    // What is in the cache has to be on the medium before that is read (SBC-3, 4.15.3.2).
    if !transfer.isWrite && transfer.forcesUnitAccess { return nil }
    if transfer.isWrite {
      guard claims.enter(workspace, isOneRequest: stream.isOneRequest) else { return nil }
    }
    defer {
      if transfer.isWrite { claims.leave(workspace) }
    }
    while let part = stream.next(workspace) {
      var memory = part.memory.mutableBytes
      do throws(BlockError) {
        guard try volume.performNow(part.request, data: &memory, using: workspace) == .done else {
          return nil
        }
      } catch {
        throw failure(error, isWrite: transfer.isWrite)
      }
      stream.finish(part)
    }
    return done(transfer, command)
  }

  /// Serves a transfer, waiting as long as it takes.
  func transfer(
    _ transfer: Transfer, _ command: Command, _ workspace: Workspace
  ) async throws(SenseData) -> CommandResult {
    let stream = try stream(transfer, command)
    if transfer.isWrite {
      let claim = await claims.take(try range(transfer.lba, transfer.blocks))
      defer { claims.release(claim) }
      try await run(stream, workspace)
    } else {
      if transfer.forcesUnitAccess { try await flush(workspace) }
      try await run(stream, workspace)
    }
    return done(transfer, command)
  }

  /// Moves all of a stream.
  func run(_ stream: BlockStream, _ workspace: Workspace) async throws(SenseData) {
    var stream = stream
    while let part = stream.next(workspace) {
      try await request(part.request, part.memory, workspace)
      stream.finish(part)
    }
  }

  // MARK: Requests to the volume

  /// What a request without data has.
  private static var noMemory: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }

  /// Performs one request.
  ///
  /// - Throws: What the volume's error becomes, and B/0006 if the task is cancelled.
  func request(
    _ request: BlockRequest,
    _ memory: UnsafeMutableRawBufferPointer,
    _ workspace: Workspace
  ) async throws(SenseData) {
    do throws(BlockError) {
      if Task.isCancelled {
        throw BlockError(
          .cancelled, step: "\(request.operation)",
          object: "\(request.byteCount) bytes at byte \(request.offset)",
          cause: "the command was aborted")
      }
      var span = memory.mutableBytes
      try await volume.perform(request, data: &span, using: workspace)
    } catch {
      throw failure(error, isWrite: request.operation != .read)
    }
  }

  /// What an error of the volume becomes.
  func failure(_ error: BlockError, isWrite: Bool) -> SenseData {
    options.report(error)
    return SenseData(error, isWrite: isWrite)
  }

  /// Puts all that was written on stable storage.
  func flush(_ workspace: Workspace) async throws(SenseData) {
    if volume.geometry.isReadOnly { return }
    try await request(.flush, Self.noMemory, workspace)
  }

  /// Makes bytes read as zeros; whoever compares and writes them meanwhile waits.
  ///
  /// - Parameters:
  ///   - range: Whole blocks.
  ///   - flags: Those of the requests.
  func zero(
    _ range: Range<UInt64>, _ flags: BlockRequest.Flags, _ workspace: Workspace
  ) async throws(SenseData) {
    let claim = await claims.take(range)
    defer { claims.release(claim) }
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = min(range.upperBound - offset, Limits.zeroingBytes)
      try await request(
        BlockRequest(.writeZeroes, at: offset, byteCount: count, flags: flags), Self.noMemory, workspace)
      offset += count
    }
  }
}
