import BlockCore

/// A logical unit: a volume that answers SCSI commands.
///
/// It has the two phases of ``BlockCore/Volume``. All functions may be called from several threads at once.
public final class LogicalUnit: Sendable {
  /// The volume that it stands on.
  public let volume: any Volume

  /// What a logical unit is told besides its volume.
  public struct Options: Sendable {
    /// T10 vendor identification, 8 bytes at most.
    public var vendor = "LIO-ORG"
    /// Product identification, 16 bytes at most.
    public var product = "TCMU device"
    /// Product revision level, 4 bytes at most.
    public var revision = "0002"
    /// The unit serial number; asked for at the first INQUIRY that needs it, since rtslib sets it only after the
    /// device is enabled.
    public var serial: @Sendable () -> String = { "" }
    /// The largest transfer in logical blocks; 0 for no limit.
    public var maximumTransferBlocks: UInt32 = 0
    /// Whether there is a volatile cache (WCE): whether writes are on stable storage only after a flush.
    public var hasWriteCache = true

    /// The usual ones.
    public init() {}
  }

  /// Makes a logical unit of a volume.
  public init(_ volume: any Volume, _ options: Options) {
    self.volume = volume
  }

  /// Serves a command if that takes no waiting: the first phase.
  ///
  /// It allocates nothing for reads and writes.
  ///
  /// - Returns: The result, or `nil` if the command has to wait; nothing of it counts as done then.
  public func performNow(_ command: Command, using workspace: Workspace) -> CommandResult? {
    CommandResult(.checkCondition, sense: SenseData(0x5, 0x20, 0x00))
  }

  /// Serves a command, waiting as long as it takes: the second phase.
  public func perform(_ command: Command, using workspace: Workspace) async -> CommandResult {
    CommandResult(.checkCondition, sense: SenseData(0x5, 0x20, 0x00))
  }

  /// Tells every initiator at its next command that the capacity has changed (6/2A09).
  public func noteCapacityChange() {}
}
