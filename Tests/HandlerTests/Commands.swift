import BlockCore
import Glibc
import SCSI
import Testing

/// Sends commands to a handler as a transport would.
struct Commands {
  let interceptor: any CommandInterceptor
  private let workspaces = WorkspacePool()

  init(_ interceptor: (any CommandInterceptor)?) throws {
    self.interceptor = try #require(interceptor)
  }

  /// What came of a command with data-in.
  struct Outcome {
    let result: CommandResult?
    /// The valid bytes.
    let data: [UInt8]
  }

  /// Sends a command.
  ///
  /// - Parameters:
  ///   - cdb: The command block.
  ///   - data: The buffer; data-out as it is, data-in to be overwritten.
  ///   - pieceSize: Bytes of each of the pieces that the buffer is divided into.
  func send(_ cdb: [UInt8], _ data: [UInt8] = [], pieceSize: Int = 4096) async throws -> Outcome {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(data.count, 1), alignment: 16)
    defer { memory.deallocate() }
    memory.copyBytes(from: data)
    let count = (data.count + pieceSize - 1) / pieceSize
    let pieces = UnsafeMutableBufferPointer<iovec>.allocate(capacity: max(count, 1))
    defer { pieces.deallocate() }
    for index in 0..<count {
      let start = index * pieceSize
      pieces.initializeElement(
        at: index,
        to: iovec(
          iov_base: memory.baseAddress.map { $0 + start }, iov_len: min(pieceSize, data.count - start)))
    }
    var block = CommandBlock()
    for (index, byte) in cdb.enumerated() { block.bytes[index] = byte }
    block.count = cdb.count
    let buffer = DataBuffer(UnsafeBufferPointer(rebasing: UnsafeBufferPointer(pieces)[..<count]))
    let command = Command(cdb: block, data: buffer)
    let interceptor = self.interceptor
    let result = try await workspaces.withWorkspace { workspace in
      await interceptor.intercept(command, using: workspace)
    }
    return Outcome(
      result: result, data: Array(memory.prefix(min(result?.dataInCount ?? data.count, data.count))))
  }

  /// Sends a command that has to succeed, and returns its data.
  func data(_ cdb: [UInt8], count: Int, pieceSize: Int = 4096) async throws -> [UInt8] {
    let outcome = try await send(cdb, [UInt8](repeating: 0xEE, count: count), pieceSize: pieceSize)
    #expect(outcome.result?.status == .good, "\(String(describing: outcome.result))")
    return outcome.data
  }
}

extension Array<UInt8> {
  /// A number of some bytes, the most significant first.
  func bigEndian(_ range: Range<Int>) -> UInt64 { self[range].reduce(0) { $0 << 8 | UInt64($1) } }

  /// Numbers of 64 bits in the machine's order.
  var words: [UInt64] { withUnsafeBytes { Array<UInt64>($0.bindMemory(to: UInt64.self)) } }
}

extension Volume {
  /// Writes bytes and the like, as a transport would.
  func change(_ request: BlockRequest, _ bytes: [UInt8] = [], using workspace: Workspace) async throws {
    var bytes = bytes
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try await perform(request, data: &raw, using: workspace)
  }
}
