import BlockCore
import CAshlarHandler
import Glibc
import SCSI
import SystemPackage

/// The commands that a handler in a shared object serves by itself.
struct ForeignCommands: CommandInterceptor {
  let volume: ForeignVolume

  /// The sense data of a command that nobody serves: INVALID COMMAND OPERATION CODE.
  private static let unknown = CommandResult(.checkCondition, sense: SenseData(0x5, 0x20, 0x00))

  func intercept(_ command: Command, using workspace: Workspace) async -> CommandResult? {
    guard let serve = volume.table.command else { return nil }
    let frame = CommandFrame(command)
    let result = await ForeignCompletion.run(volume.gate) { completion in
      frame.command.pointee.completion = completion
      return serve(volume.state, frame.command)
    }
    switch result {
    case 0: return Self.result(frame.command.pointee, command)
    case Int32(ASHLAR_NOT_HANDLED): return volume.servesCommandsOnly ? Self.unknown : nil
    default:
      let error = ForeignHandler.error(result, step: "serve", object: "a command", otherwise: .ioError)
      let sense = error.kind.codes.sense
      return CommandResult(.checkCondition, sense: SenseData(sense.key, sense.code, sense.qualifier))
    }
  }

  private static func result(_ served: ashlar_command, _ command: Command) -> CommandResult {
    // A status that SAM-5 does not have, or a failure that says nothing, is a failure of the hardware.
    guard let status = CommandResult.Status(rawValue: served.status) else {
      return CommandResult(.checkCondition, sense: SenseData(0x4, 0x44, 0x00))
    }
    // SIZE_MAX, and whatever else is more than there is room for, stands for all of it.
    let valid = UInt(bitPattern: served.data_in_count)
    let count = valid < UInt(command.data.byteCount) ? Int(valid) : nil
    guard status == .checkCondition else { return CommandResult(status, dataInCount: count) }
    let sense = withUnsafeBytes(of: served.sense) { bytes in
      SenseData(bytes.prefix(Int(served.sense_length)))
    }
    return CommandResult(status, sense: sense ?? SenseData(0x4, 0x44, 0x00), dataInCount: count)
  }
}

/// What a handler gets of a command, in memory that does not move.
private struct CommandFrame: ~Copyable {
  let command: UnsafeMutablePointer<ashlar_command>
  private let block: UnsafeMutablePointer<UInt8>
  private let pieces: UnsafeMutablePointer<iovec>

  init(_ source: Command) {
    command = .allocate(capacity: 1)
    block = .allocate(capacity: CommandBlock.capacity)
    for index in 0..<CommandBlock.capacity {
      (block + index).initialize(to: source.cdb.bytes[index])
    }
    let count = source.data.pieces.count
    pieces = .allocate(capacity: max(count, 1))
    for index in 0..<count { (pieces + index).initialize(to: source.data.pieces[index]) }
    var given = ashlar_command()
    given.size = UInt32(MemoryLayout<ashlar_command>.size)
    given.cdb_length = UInt32(source.cdb.count)
    given.cdb = UnsafePointer(block)
    given.pieces = pieces
    given.piece_count = count
    given.data_in_count = Int(bitPattern: UInt.max)
    command.initialize(to: given)
  }

  deinit {
    command.deallocate()
    block.deallocate()
    pieces.deallocate()
  }
}

extension SenseData {
  /// Reads sense data of either format (SPC-4, 4.5.2 and 4.5.3); `nil` if it is too short or neither.
  init?(_ bytes: some BidirectionalCollection<UInt8>) {
    let bytes = Array(bytes)
    guard bytes.count >= 8 else { return nil }
    switch bytes[0] & 0x7F {
    case 0x70, 0x71:
      guard bytes.count >= 14 else { return nil }
      self.init(bytes[2] & 0x0F, bytes[12], bytes[13])
      if bytes[0] & 0x80 != 0 {
        information = bytes[3..<7].reduce(0) { $0 << 8 | UInt64($1) }
      }
      if bytes.count >= 18, bytes[15] & 0x80 != 0 {
        specific = bytes[15..<18].reduce(0) { $0 << 8 | UInt32($1) }
      }
    case 0x72, 0x73: self.init(bytes[1] & 0x0F, bytes[2], bytes[3])
    default: return nil
    }
  }
}
