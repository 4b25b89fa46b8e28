import BlockCore
import BlockSim
import FuzzKit
import Glibc
import SCSI

/// Commands, one after the other, to a small disk: the first byte chooses the disk, then each command is a length of
/// its data in two bytes, how these are cut into pieces in one byte, 16 bytes of CDB, and the data.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  FuzzKit.run {
    let disk = FuzzDisk(
      blockSize: mode & 1 == 0 ? 512 : 4096, isReadOnly: mode & 2 != 0, canDiscard: mode & 4 == 0)
    var options = LogicalUnit.Options()
    options.serial = { "11112222-3333-4444-5555-666677778888" }
    options.profile = mode & 8 == 0 ? .strict : .tcmuRunner
    options.maximumTransferBlocks = mode & 16 == 0 ? 0 : 32
    options.hasWriteCache = mode & 32 == 0
    let unit = LogicalUnit(disk, options)
    var rest = input.dropFirst()
    var commands = 0
    while rest.count >= 19, commands < 32 {
      let header = Array(rest.prefix(19))
      rest = rest.dropFirst(19)
      let length = min(Int(header[0]) << 8 | Int(header[1]), 1 << 14)
      let given = rest.prefix(length)
      rest = rest.dropFirst(given.count)
      let data = Array(given) + [UInt8](repeating: 0, count: length - given.count)
      await send(Array(header[3...]), data, pieceBytes: Int(header[2]) * 37 + 1, to: unit)
      commands += 1
    }
  }
  return 0
}

/// Sends a command through both phases.
private func send(_ cdb: [UInt8], _ data: [UInt8], pieceBytes: Int, to unit: LogicalUnit) async {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: data.count, alignment: 1)
  memory.copyBytes(from: data)
  let starts = Array(stride(from: 0, to: data.count, by: pieceBytes))
  let pieces = UnsafeMutableBufferPointer<iovec>.allocate(capacity: starts.count)
  defer {
    memory.deallocate()
    pieces.deallocate()
  }
  for (index, start) in starts.enumerated() {
    let part = UnsafeMutableRawBufferPointer(rebasing: memory[start..<min(start + pieceBytes, data.count)])
    pieces.initializeElement(at: index, to: iovec(iov_base: part.baseAddress, iov_len: part.count))
  }
  let command = Command(cdb: CommandBlock(cdb), data: DataBuffer(UnsafeBufferPointer(pieces)))
  let workspace = Workspace()
  var result = unit.performNow(command, using: workspace)
  if result == nil { result = await unit.perform(command, using: workspace) }
  precondition(
    (result?.status == .checkCondition) == (result?.sense != nil), "sense data and status disagree")
  precondition(result?.dataInCount ?? 0 <= data.count, "more data than room")
  var sense = [UInt8](repeating: 0, count: SenseData.bufferBytes)
  var span = sense.mutableSpan
  var raw = span.mutableBytes
  result?.sense?.encode(into: &raw, descriptorFormat: unit.usesDescriptorSense)
}

/// 100 blocks in memory.
private final class FuzzDisk: ExtentReporting {
  let geometry: VolumeGeometry
  private let disk = SimulatedDisk(seed: 1)
  private let file: any BlockFile

  init(blockSize: Int, isReadOnly: Bool, canDiscard: Bool) {
    geometry = VolumeGeometry(
      byteCount: UInt64(100 * blockSize), logicalBlockSize: blockSize, isReadOnly: isReadOnly,
      canDiscard: canDiscard)
    file = disk.add("disk", [UInt8](repeating: 7, count: 100 * blockSize))
  }

  func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome { .mustWait }

  func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) {
    let range = request.offset..<request.offset + request.byteCount
    switch request.operation {
    case .read: try await file.read(at: request.offset, into: &data, using: workspace)
    case .write: try await file.write(at: request.offset, from: data.bytes, isDurable: false)
    case .flush: try await file.synchronize()
    case .discard, .writeZeroes: try await file.zero(range)
    }
  }

  func dataExtents() async throws(BlockError) -> [Range<UInt64>] {
    stride(from: 0, to: geometry.byteCount, by: 3 * 4096).map { $0..<min($0 + 4096, geometry.byteCount) }
  }
}
