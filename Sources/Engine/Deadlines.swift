import BlockCore

/// How long each wait may take before it is given up.
///
/// What is done with a sandbox or a volume has none but for its device: it takes as long as its disks.
public struct Deadlines: Sendable {
  /// From the start of a data server until its device is there: opening the image takes most of it.
  public var attach: Duration
  /// Until the new device has been read back.
  public var readBack: Duration
  /// For a look at a file of an image.
  public var look: Duration
  /// For those who have a device open for a moment only, before it counts as used.
  public var settle: Duration
  /// Until a detached device is gone, if nobody else has it open.
  public var detach: Duration
  /// For what is in a device's page cache to be written, before a data server is ended that cannot be spoken to.
  public var flush: Duration
  /// Until a data server has said what was asked of it.
  public var report: Duration
  /// Until a data server has changed a device that is in use.
  public var change: Duration
  /// Until a data server that hands its device over has finished what it has taken.
  public var handOver: Duration
  /// For the turn of a detach, while another operation on the device is under way.
  public var turn: Duration
  /// For what was asked before a manager was told to stop.
  public var stop: Duration
  /// For a manager to make way for one that does more.
  public var makeWay: Duration
  /// Until a data server has ended that was killed.
  public var kill: Duration
  /// Until it is tried again to write down what the journal's disk had no room for.
  public var journal: Duration

  /// The usual ones.
  public static let standard = Deadlines(
    attach: .seconds(60), readBack: .seconds(20), look: Limits.lookTime, settle: .milliseconds(500),
    detach: .seconds(20), flush: .seconds(20),
    report: .seconds(2), change: .seconds(20), handOver: .seconds(30), turn: .seconds(30), stop: .seconds(3),
    makeWay: .seconds(15), kill: .seconds(5), journal: .seconds(2))
}
