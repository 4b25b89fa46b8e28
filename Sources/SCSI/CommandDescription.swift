import BlockCore

/// One row of the command table.
struct CommandDescription: Sendable {
  /// What a command touches.
  struct Access: OptionSet, Sendable {
    let rawValue: UInt8
    /// Needs the medium: not possible while the unit is stopped.
    static let medium = Access(rawValue: 1)
    /// Changes it: not possible if it is write-protected.
    static let writes = Access(rawValue: 2)
    /// Gives blocks back: not there if the volume cannot.
    static let unmaps = Access(rawValue: 4)
    /// Is answered whatever the unit's state, and brings no news (SPC-4, 5.14).
    static let always = Access(rawValue: 8)
    /// Returns data.
    static let dataIn = Access(rawValue: 16)
    /// Takes data.
    static let dataOut = Access(rawValue: 32)
  }

  typealias Immediate = @Sendable (LogicalUnit) -> (Command) throws(SenseData) -> CommandResult
  typealias Waiting =
    @Sendable (LogicalUnit) -> (Command, Workspace) async throws(SenseData) -> CommandResult

  /// Who serves it.
  enum Service: Sendable {
    /// READ and WRITE, in either phase.
    case transfer
    /// A function that does not wait.
    case now(Immediate)
    /// A function of the second phase.
    case waiting(Waiting)
  }

  let name: String
  let operationCode: UInt8
  let serviceAction: UInt8?
  /// Which bits of the CDB are looked at, as REPORT SUPPORTED OPERATION CODES shows them: as long as the CDB.
  let usage: [UInt8]
  let access: Access
  /// Seconds after which an initiator may give it up.
  let timeout: UInt32
  let service: Service

  /// Makes a row.
  ///
  /// - Parameter usage: The usage bits in hexadecimal, the operation code first; its service action is taken from
  ///   byte 1 if `hasServiceAction`.
  init(
    _ name: String, _ usage: String, hasServiceAction: Bool = false, _ access: Access, timeout: UInt32 = 30,
    _ service: Service
  ) {
    let bytes = usage.split(separator: " ").map { UInt8($0, radix: 16) ?? 0 }
    self.name = name
    operationCode = bytes[0]
    serviceAction = hasServiceAction ? bytes[1] & 0x1F : nil
    self.usage = bytes
    self.access = access
    self.timeout = timeout
    self.service = service
  }

  /// The result as the transport gets it.
  ///
  /// A command without data-in that was given room for some returns none of it: what an earlier command has left in
  /// the ring's memory is not this initiator's business.
  func finished(_ result: CommandResult, _ command: Command) -> CommandResult {
    guard result.status != .checkCondition, access.isDisjoint(with: [.dataIn, .dataOut]),
      command.data.byteCount > 0
    else { return result }
    command.data.clear()
    var result = result
    result.dataInCount = 0
    return result
  }
}
