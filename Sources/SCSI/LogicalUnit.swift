import BlockCore
import Synchronization

/// A logical unit: a volume that answers SCSI commands.
///
/// It has the two phases of ``BlockCore/Volume``. All functions may be called from several threads at once.
/// Commands are not ordered among each other.
///
/// A ring of TCMU does not say which initiator a command is from. What SCSI keeps for each initiator, unit attentions
/// and results of copies, there is once here: the first command that comes gets it.
public final class LogicalUnit: Sendable {
  /// The volume that it stands on.
  public let volume: any Volume
  /// What it was told besides the volume.
  public let options: Options
  let conditions: ConditionSet
  let claims = RangeClaims()
  let copies = Mutex<[CopyResult]>([])

  /// Makes a logical unit of a volume.
  public init(_ volume: any Volume, _ options: Options) {
    self.volume = volume
    self.options = options
    conditions = ConditionSet(
      options.settings.map { ConditionSet.Conditions(rawValue: $0).intersection(.settings) }
        ?? (options.hasWriteCache ? [] : .writeThrough))
  }

  /// Serves a command if that takes no waiting: the first phase.
  ///
  /// It allocates nothing for reads and writes.
  ///
  /// - Returns: The result, or `nil` if the command has to wait; nothing of it counts as done then.
  public func performNow(_ command: Command, using workspace: Workspace) -> CommandResult? {
    guard options.interceptor == nil else { return nil }
    do throws(SenseData) {
      if let transfer = Transfer(command.cdb) { return try transferNow(transfer, command, workspace) }
      let description = try description(of: command.cdb)
      guard case .now(let serve) = description.service else { return nil }
      try admit(command.cdb, description)
      return description.finished(try serve(self)(command), command)
    } catch {
      return CommandResult(.checkCondition, sense: error)
    }
  }

  /// Serves a command, waiting as long as it takes: the second phase.
  ///
  /// If the task is cancelled, a command that takes several steps ends after the current one with B/0006.
  public func perform(_ command: Command, using workspace: Workspace) async -> CommandResult {
    if let interceptor = options.interceptor,
      let result = await interceptor.intercept(command, using: workspace)
    {
      return result
    }
    do throws(SenseData) {
      if let transfer = Transfer(command.cdb) { return try await self.transfer(transfer, command, workspace) }
      let description = try description(of: command.cdb)
      try admit(command.cdb, description)
      let result: CommandResult
      switch description.service {
      case .now(let serve): result = try serve(self)(command)
      case .waiting(let serve): result = try await serve(self)(command, workspace)
      // Its CDBs are those that `Transfer` reads.
      case .transfer: throw .invalidOperationCode
      }
      return description.finished(result, command)
    } catch {
      return CommandResult(.checkCondition, sense: error)
    }
  }

  /// Tells an initiator at its next command that the capacity has changed (6/2A09).
  ///
  /// With several initiators it is the one whose command comes first; see ``LogicalUnit``.
  public func noteCapacityChange() { conditions.insert(.capacityChanged) }

  /// What was set in mode pages, as one word: WCE, D_SENSE and SWP, for ``Options/settings`` of the unit that takes
  /// this one's place in another process.
  public var settings: UInt32 { conditions.now.intersection(.settings).rawValue }

  /// Whether ``settings`` say that each write goes to stable storage before it is answered.
  public var isWriteThrough: Bool { conditions.now.contains(.writeThrough) }

  /// Whether sense data is to be encoded in descriptor format: the D_SENSE bit of the control mode page.
  public var usesDescriptorSense: Bool { conditions.now.contains(.descriptorSense) }

  // MARK: Whether a command may be served

  private func description(of cdb: CommandBlock) throws(SenseData) -> CommandDescription {
    guard let description = CommandTable.description(of: cdb), isSupported(description) else {
      throw .invalidOperationCode
    }
    return description
  }

  /// Whether a command of the table is one of this unit's.
  func isSupported(_ description: CommandDescription) -> Bool {
    !description.access.contains(.unmaps) || canUnmap
  }

  /// Refuses a command that is not possible as things stand.
  private func admit(_ cdb: CommandBlock, _ description: CommandDescription) throws(SenseData) {
    let control = description.usage.count - 1
    // NACA asks for a kind of task management that is not there (SAM-5, 5.2.4).
    if cdb.hasBits(0x04, at: control) { throw .invalidField(control) }
    try admit(description.access)
  }

  /// Refuses a command of some kind if the unit's conditions, or the volume, do not allow it.
  @inline(__always)
  func admit(_ access: CommandDescription.Access) throws(SenseData) {
    if conditions.now.isObstacle { try conditions.admit(access) }
    if access.contains(.writes) && volume.geometry.isReadOnly { throw .writeProtected }
  }

  /// Whether blocks can be given back.
  var canUnmap: Bool { volume.geometry.canDiscard && !volume.geometry.isReadOnly }

  // MARK: Ranges

  /// The bytes of some logical blocks.
  ///
  /// - Throws: 5/2100 if they are not all there; no blocks at all are, up to the end of the disk.
  @inline(__always)
  func range(_ lba: UInt64, _ blocks: UInt64) throws(SenseData) -> Range<UInt64> {
    let geometry = volume.geometry
    let blockSize = UInt64(geometry.logicalBlockSize)
    let capacity = geometry.byteCount / blockSize
    guard lba <= capacity, blocks <= capacity - lba else { throw .outOfRange }
    return lba * blockSize..<(lba + blocks) * blockSize
  }
}
