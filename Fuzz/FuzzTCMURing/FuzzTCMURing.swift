import BlockCore
import FuzzKit
import Glibc
import SCSI
import TransportTCMU

/// The first 128 bytes are a mailbox, of which version and flags are put right; what is behind it is the ring, with
/// whatever the mailbox says of it.
///
/// All that can be taken is taken, and answered, the second half of each four in the order in which it came.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeRawBufferPointer(start: start, count: count)
  guard count > RingLayout.mailboxByteCount, count <= 1 << 16 else { return 0 }
  do throws(BlockError) {
    let memory = try RingMemory(unshared: 1 << 16)
    for (offset, byte) in input.enumerated() { memory.store(byte, at: offset) }
    memory.store(UInt32(0x000F_0002), at: 0)
    let ring = try TCMURing(memory, name: "fuzz")
    try serve(ring)
  } catch {
    // A ring that cannot be followed is an error, and an error is all that it is.
    precondition(error.kind == .corrupt || error.kind == .unsupported, "\(error)")
  }
  return 0
}

private func serve(_ ring: TCMURing) throws(BlockError) {
  let slot = CommandSlot()
  var waiting: [UInt16] = []
  var taken = 0
  while true {
    var result = CommandResult(.good, dataInCount: 3)
    switch try ring.next(into: slot) {
    case .empty:
      for identifier in waiting.reversed() { try ring.complete(identifier, .good) }
      _ = try ring.releasePassive()
      return
    case .rejected(let rejection): result = rejection
    case .command: touch(slot.command)
    }
    taken += 1
    precondition(taken < 1 << 12, "more commands than the ring has room for")
    if taken % 4 < 2 { waiting.append(slot.identifier) } else { try ring.complete(slot.identifier, result) }
  }
}

/// Reads and writes the ends of a command's data.
private func touch(_ command: Command) {
  precondition(command.cdb.count <= CommandBlock.capacity)
  var byteCount = 0
  for piece in command.data.pieces where piece.iov_len > 0 {
    byteCount += piece.iov_len
    let bytes = UnsafeMutableRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
    bytes[0] ^= 1
    bytes[bytes.count - 1] ^= 1
  }
  precondition(byteCount == command.data.byteCount)
}
