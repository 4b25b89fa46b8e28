import BlockCore

extension LogicalUnit {
  /// Whose INQUIRY data a unit shows.
  public enum Profile: Sendable {
    /// What the standards want, and nothing that is not so.
    case strict
    /// What tcmu-runner 1.5 shows, byte by byte, for initiators that have seen the device with it.
    case tcmuRunner
  }

  /// What a logical unit is told besides its volume.
  public struct Options: Sendable {
    /// T10 vendor identification, 8 bytes at most.
    public var vendor = "LIO-ORG"
    /// Product identification, 16 bytes at most.
    public var product = "TCMU device"
    /// Product revision level, 4 bytes at most.
    public var revision = "0002"
    /// The unit serial number; asked for at each INQUIRY that needs it, since rtslib sets it only after the device is
    /// enabled.
    public var serial: @Sendable () -> String = { "" }
    /// Whose INQUIRY data to show.
    public var profile = Profile.strict
    /// What ``Profile/tcmuRunner`` shows as the vendor-specific designator: TCMU's `dev_config`.
    ///
    /// The other profile shows no names of this host to initiators.
    public var configuration = ""
    /// The target port through which the unit is seen, if that is known.
    public var targetPort: @Sendable () -> TargetPort? = { nil }
    /// The largest transfer that initiators are told, in logical blocks; 0 for no limit.
    ///
    /// A longer one is served all the same: its data is there.
    public var maximumTransferBlocks: UInt32 = 0
    /// Bytes in a physical block: a power of two times the logical block; 0 if it is the logical block.
    public var physicalBlockBytes = 0
    /// Logical blocks in what can be given back at best; 0 if unknown.
    public var unmapGranularityBlocks: UInt32 = 0
    /// Whether to say that the medium does not rotate.
    public var isSolidState = true
    /// Whether there is a volatile cache (WCE): whether writes are on stable storage only after a flush.
    ///
    /// Without one, or after MODE SELECT has switched it off, each write is put there before it is answered.
    public var hasWriteCache = true
    /// What was set in mode pages before (``LogicalUnit/settings``); `nil` for a unit that begins anew.
    public var settings: UInt32?
    /// Told after ``LogicalUnit/settings`` have changed and before the command is answered that did it.
    public var onSettingsChange: @Sendable () -> Void = {}
    /// Asked before the commands that are built in; with one, every command takes the second phase.
    public var interceptor: (any CommandInterceptor)?
    /// Finds another logical unit for EXTENDED COPY by its NAA designator of 16 bytes (``LogicalUnit/designator``).
    public var copyTarget: @Sendable (_ designator: [UInt8]) -> LogicalUnit? = { _ in nil }
    /// Runs what goes on after its command was answered: FORMAT UNIT with IMMED.
    public var background: @Sendable (_ work: @escaping @Sendable () async -> Void) -> Void = { work in
      Task { await work() }
    }
    /// Told of each error of a volume that became sense data, so that a log has what an initiator does not see.
    public var report: @Sendable (BlockError) -> Void = { _ in }

    /// The usual ones.
    public init() {}
  }

  /// A target port of SCSI.
  public struct TargetPort: Sendable, Hashable {
    /// The transport's protocol identifier (SPC-4, 7.6.1): 5 for iSCSI.
    public var protocolIdentifier: UInt8
    /// The relative target port identifier.
    public var relativeIdentifier: UInt16
    /// The target port group.
    public var group: UInt16
    /// The target device's name.
    public var targetName: String
    /// The portal group tag.
    public var portalGroupTag: UInt16

    /// Makes a port; the parameters are those of the properties.
    public init(
      protocolIdentifier: UInt8, relativeIdentifier: UInt16, group: UInt16, targetName: String,
      portalGroupTag: UInt16
    ) {
      self.protocolIdentifier = protocolIdentifier
      self.relativeIdentifier = relativeIdentifier
      self.group = group
      self.targetName = targetName
      self.portalGroupTag = portalGroupTag
    }
  }
}

/// Something that answers commands in a logical unit's place: a handler that emulates more than a disk.
public protocol CommandInterceptor: Sendable {
  /// Answers a command, or leaves it to the logical unit.
  ///
  /// - Parameters:
  ///   - command: The command; its data may be touched until this returns.
  ///   - workspace: The calling task's own.
  /// - Returns: The result, or `nil` if the logical unit is to serve the command; the data has to be as it was then.
  func intercept(_ command: Command, using workspace: Workspace) async -> CommandResult?
}
