import BlockCore
import CAshlarHandler
import Glibc

extension ForeignVolume {
  /// A function of `struct ashlar_handler` that serves a request.
  private typealias Function =
    @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<ashlar_request>?) -> Int32

  func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome {
    switch request.operation {
    case .flush: table.flush == nil ? .done : .mustWait
    case .discard: table.discard == nil ? .done : .mustWait
    case .read, .write, .writeZeroes: .mustWait
    }
  }

  func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    // The memory belongs to this request until we return, so the address stays good while the handler has it.
    let memory = data.withUnsafeMutableBytes { $0.baseAddress }
    switch request.operation {
    case .read: try await call(table.read, request, memory)
    case .write: try await call(table.write, request, memory)
    case .flush: try await call(table.flush, request, nil)
    case .discard: try await discard(request)
    case .writeZeroes: try await writeZeroes(request)
    }
    if flushesForFUA, request.operation.isWrite, request.flags.contains(.forceUnitAccess) {
      try await call(table.flush, .flush, nil)
    }
  }

  /// Calls a function; one that is not there has been answered for before.
  private func call(
    _ function: Function?, _ request: BlockRequest, _ memory: UnsafeMutableRawPointer?
  ) async throws(BlockError) {
    let result = await outcome(function, request, memory)
    guard result == 0 else { throw failure(result, request) }
  }

  private func outcome(
    _ function: Function?, _ request: BlockRequest, _ memory: UnsafeMutableRawPointer?
  ) async -> Int32 {
    guard let function else { return -EOPNOTSUPP }
    let flags =
      (request.flags.contains(.forceUnitAccess) ? ASHLAR_FUA : 0)
      | (request.flags.contains(.mayUnmap) ? ASHLAR_MAY_UNMAP : 0)
    let given = UnsafeMutablePointer<ashlar_request>.allocate(capacity: 1)
    defer { given.deallocate() }
    return await ForeignCompletion.run(gate) { completion in
      given.initialize(
        to: ashlar_request(
          size: UInt32(MemoryLayout<ashlar_request>.size), flags: UInt32(flags), offset: request.offset,
          length: request.byteCount, data: memory, completion: completion))
      return function(state, given)
    }
  }

  private func failure(_ result: Int32, _ request: BlockRequest) -> BlockError {
    ForeignHandler.error(
      result, step: "\(request.operation)",
      object: "\(request.byteCount) bytes at byte \(request.offset) of a disk of \(handler.subtype)",
      otherwise: .ioError)
  }

  private func discard(_ request: BlockRequest) async throws(BlockError) {
    guard table.discard != nil else { return }
    for piece in pieces(of: request, atMost: discardMaximum) { try await call(table.discard, piece, nil) }
  }

  private func writeZeroes(_ request: BlockRequest) async throws(BlockError) {
    if table.write_zeroes != nil {
      let result = await outcome(table.write_zeroes, request, nil)
      if result == 0 { return }
      guard result == -EOPNOTSUPP else { throw failure(result, request) }
    }
    let zeros = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(Int(request.byteCount), Limits.requestBytes), alignment: Limits.pageSize)
    defer { zeros.deallocate() }
    for piece in pieces(of: request, atMost: UInt64(Limits.requestBytes)) {
      // Anew each time: the handler may have used the memory.
      zeros.initializeMemory(as: UInt8.self, repeating: 0)
      var write = piece
      write.operation = .write
      try await call(table.write, write, zeros.baseAddress)
    }
  }

  /// A request in pieces of a length that the handler takes.
  private func pieces(of request: BlockRequest, atMost limit: UInt64) -> [BlockRequest] {
    var pieces: [BlockRequest] = []
    var piece = request
    var left = request.byteCount
    while left > 0 {
      piece.byteCount = min(left, limit)
      pieces.append(piece)
      piece.offset += piece.byteCount
      left -= piece.byteCount
    }
    return pieces
  }
}
