import BlockCore
import SCSI
import Synchronization

extension TCMURing {
  /// Completes a command, in the order in which commands are done.
  ///
  /// The answer goes into the entry at the tail, whatever command came in it: the kernel reads from there which
  /// command is meant. What the command's data is in belongs to the kernel from then on. The kernel looks at it at
  /// the next kick.
  ///
  /// It allocates nothing. May be called on any thread.
  ///
  /// - Parameters:
  ///   - identifier: The command's number.
  ///   - result: How it ended; what is told of data-in is at most the buffer's length.
  ///   - usesDescriptorSense: Whether sense data goes out in descriptor format, not in fixed format.
  /// - Throws: `corrupt` if there is no entry for the answer.
  public func complete(
    _ identifier: UInt16, _ result: CommandResult, usesDescriptorSense: Bool = false
  ) throws(BlockError) {
    try completion.withLock { state throws(BlockError) in
      var tail = try skip(from: state.tail)
      let start = layout.ringOffset + Int(tail)
      let word = memory.load(start, as: UInt32.self)
      write(identifier, result, usesDescriptorSense, at: start)
      // Its length was checked when the tail was moved there.
      tail = layout.advance(tail, by: word & ~7)
      state.tail = try skip(from: tail, toCommand: false)
      memory.storeReleasing(state.tail, at: RingLayout.tailOffset)
    }
  }

  /// Gives entries back that need no answer, if no answer is due before them.
  ///
  /// - Returns: Whether there were any: the kernel wants to be told.
  /// - Throws: `corrupt`, as ``complete(_:_:usesDescriptorSense:)``.
  package func releasePassive() throws(BlockError) -> Bool {
    try completion.withLock { state throws(BlockError) in
      let tail = try skip(from: state.tail, toCommand: false)
      if tail == state.tail { return false }
      state.tail = tail
      memory.storeReleasing(tail, at: RingLayout.tailOffset)
      return true
    }
  }

  /// HARDWARE ERROR, INTERNAL TARGET FAILURE: what goes out if nothing else is known.
  private static let unknownFailure = SenseData(0x4, 0x44, 0x00)

  /// The first place from the tail on that a command came in.
  ///
  /// - Parameter toCommand: Whether there has to be one.
  private func skip(from tail: UInt32, toCommand: Bool = true) throws(BlockError) -> UInt32 {
    let end = position.load(ordering: .acquiring)
    var tail = tail
    while tail != end {
      guard
        let entry = RingEntry(
          memory.load(layout.ringOffset + Int(tail), as: UInt32.self),
          available: layout.distance(from: tail, to: end), untilWrap: layout.ringByteCount - tail)
      else { throw Self.broken(name, "the entry at the tail, \(tail), has changed") }
      if entry.operation == .command { return tail }
      tail = layout.advance(tail, by: entry.byteCount)
    }
    if toCommand { throw Self.broken(name, "there are more answers than commands") }
    return tail
  }

  private func write(
    _ identifier: UInt16, _ result: CommandResult, _ usesDescriptorSense: Bool, at start: Int
  ) {
    var flags: UInt8 = 0
    // With a sense code the kernel takes the length for a wish to return data all the same.
    if let count = result.dataInCount, result.status != .checkCondition, layout.features.contains(.readLength)
    {
      memory.store(UInt32(clamping: count), at: start + RingEntry.readLengthOffset)
      flags = RingEntry.hasReadLength
    }
    memory.store(identifier, at: start + RingEntry.identifierOffset)
    memory.store(flags, at: start + RingEntry.userFlagsOffset)
    memory.store(UInt32(result.status.rawValue).littleEndian, at: start + RingEntry.statusOffset)
    if result.status == .checkCondition {
      let sense = memory.pointer(to: start + RingEntry.senseOffset, byteCount: RingEntry.senseByteCount)
      var bytes = UnsafeMutableRawBufferPointer(start: sense, count: RingEntry.senseByteCount).mutableBytes
      (result.sense ?? Self.unknownFailure).encode(into: &bytes, descriptorFormat: usesDescriptorSense)
    }
  }
}
