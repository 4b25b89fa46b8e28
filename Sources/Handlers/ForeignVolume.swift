import BlockCore
import CAshlarHandler
import SCSI
import Synchronization

/// A disk of a handler in a shared object.
///
/// Every call of the handler may wait, so all of its requests are served in the second phase, which transports run on
/// the waiting pool.
///
/// Proof for `@unchecked Sendable`: the only member that is not `Sendable` by itself is the handler's own pointer to
/// its state, which is passed to its functions and to nobody else; how many of them may run at a time, the gate holds.
final class ForeignVolume: Volume, @unchecked Sendable {
  /// The size in bytes, which both sides may change.
  final class Size: Sendable {
    private let value = Atomic<UInt64>(0)

    /// The size in bytes.
    var byteCount: UInt64 { value.load(ordering: .relaxed) }

    func set(_ byteCount: UInt64) { value.store(byteCount, ordering: .relaxed) }
  }

  let handler: ForeignHandler
  let state: UnsafeMutableRawPointer?
  let gate: CallGate
  private let size: Size
  private let blockSize: Int
  private let isReadOnly: Bool
  private let traits: VolumeTraits
  /// Whether writes with FUA need a flush behind them.
  let flushesForFUA: Bool
  /// Bytes of the longest discard.
  let discardMaximum: UInt64

  var table: ashlar_handler { handler.functions.table }

  /// Whether the handler serves commands only, and nothing of the engine's stands behind it.
  var servesCommandsOnly: Bool { table.read == nil && table.write == nil && table.flush == nil }

  /// Makes a volume of what a handler has opened.
  ///
  /// - Throws: `invalidArgument` for a size or a block size that no disk can have.
  init(
    _ handler: ForeignHandler, _ state: UnsafeMutableRawPointer?, _ geometry: ashlar_geometry,
    _ opening: HandlerOpening, _ size: Size
  ) throws(BlockError) {
    self.handler = handler
    self.state = state
    self.size = size
    gate = CallGate(Int(handler.functions.table.concurrent_calls))
    let table = handler.functions.table
    let flags = Int(geometry.flags)
    // A disk of commands only has blocks as its commands say; nobody else reads it.
    let isBehindCommands = table.read == nil
    let sector = VolumeGeometry.sectorSize
    blockSize = isBehindCommands ? Int(sector) : Int(geometry.block_size)
    let byteCount = isBehindCommands ? geometry.byte_count / sector * sector : geometry.byte_count
    guard blockSize == 512 || blockSize == 4096, byteCount > 0, byteCount <= Limits.volumeBytes,
      byteCount % UInt64(blockSize) == 0
    else {
      throw BlockError(
        .invalidArgument, step: "open the disk", object: "\(handler.subtype)/\(opening.configuration)",
        cause:
          "the handler says that it has \(geometry.byte_count) bytes in blocks of \(geometry.block_size)",
        remedy: "A disk has whole blocks of 512 or 4096 bytes, and at least one.")
    }
    if size.byteCount == 0 { size.set(byteCount) }
    let canWrite = table.write != nil || isBehindCommands
    isReadOnly = opening.isReadOnly || !canWrite || flags & ASHLAR_READ_ONLY != 0
    flushesForFUA = table.flush != nil && flags & ASHLAR_HONOURS_FUA == 0
    let whole = UInt64(blockSize)
    discardMaximum =
      geometry.discard_maximum == 0 ? .max : max(geometry.discard_maximum / whole * whole, whole)
    var traits = VolumeTraits()
    traits.hasWriteCache = flags & ASHLAR_WRITE_CACHE != 0
    traits.isSolidState = flags & ASHLAR_SOLID_STATE != 0
    traits.discardGranularity = geometry.discard_granularity
    traits.discardAlignment = geometry.discard_alignment
    traits.optimalTransfer = geometry.optimal_transfer
    self.traits = traits
  }

  var geometry: VolumeGeometry {
    // A size that is not whole blocks ends with the last whole one.
    let byteCount = size.byteCount / UInt64(blockSize) * UInt64(blockSize)
    return VolumeGeometry(
      byteCount: byteCount, logicalBlockSize: blockSize, isReadOnly: isReadOnly,
      canDiscard: !isReadOnly && table.discard != nil)
  }

  /// The disk for who asked for it.
  ///
  /// - Parameter onClose: What is to be done when the handler has closed it.
  func opened(onClose: @escaping @Sendable () -> Void) -> OpenedVolume {
    var opened = OpenedVolume(self)
    opened.traits = traits
    if table.command != nil { opened.interceptor = ForeignCommands(volume: self) }
    if table.resize != nil {
      opened.resize = { (byteCount) async throws(BlockError) in try await self.resize(to: byteCount) }
    }
    if table.set_write_cache != nil {
      opened.setWriteCache = { (isEnabled) async throws(BlockError) in
        try await self.setWriteCache(isEnabled)
      }
    }
    opened.close = {
      self.table.close(self.state)
      onClose()
    }
    return opened
  }

  private func resize(to byteCount: UInt64) async throws(BlockError) {
    guard let resize = table.resize else { return }
    guard byteCount > 0, byteCount % UInt64(blockSize) == 0, byteCount <= Limits.volumeBytes else {
      throw BlockError(
        .invalidArgument, step: "resize", object: handler.subtype,
        cause: "\(byteCount) bytes are not whole blocks of \(blockSize), or none, or too many")
    }
    let result = await ForeignCompletion.run(gate) { _ in resize(state, byteCount) }
    guard result == 0 else {
      throw ForeignHandler.error(
        result, step: "resize", object: handler.subtype, reason: "", otherwise: .unsupported)
    }
    size.set(byteCount)
  }

  private func setWriteCache(_ isEnabled: Bool) async throws(BlockError) {
    guard let set = table.set_write_cache else { return }
    let result = await ForeignCompletion.run(gate) { _ in set(state, isEnabled ? 1 : 0) }
    guard result == 0 else {
      throw ForeignHandler.error(
        result, step: "set the write cache of", object: handler.subtype, reason: "", otherwise: .unsupported)
    }
  }
}
