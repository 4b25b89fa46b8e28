import Synchronization

/// The state of a logical unit beside its volume: one word that any thread reads.
final class ConditionSet: Sendable {
  struct Conditions: OptionSet {
    let rawValue: UInt32

    /// WCE is 0: each write goes to stable storage before it is answered.
    static let writeThrough = Conditions(rawValue: 1 << 0)
    /// D_SENSE is 1.
    static let descriptorSense = Conditions(rawValue: 1 << 1)
    /// SWP is 1.
    static let softwareWriteProtect = Conditions(rawValue: 1 << 2)
    /// START STOP UNIT has stopped it.
    static let stopped = Conditions(rawValue: 1 << 3)
    /// FORMAT UNIT is at work.
    static let formatting = Conditions(rawValue: 1 << 4)
    /// 6/2A09 is to be told.
    static let capacityChanged = Conditions(rawValue: 1 << 5)
    /// 3/3101 is to be told.
    static let formatFailed = Conditions(rawValue: 1 << 6)

    /// What an initiator or a manager has set, which a unit keeps whoever serves it.
    static let settings: Conditions = [.writeThrough, .descriptorSense, .softwareWriteProtect]

    /// Whether some commands are not possible, or something is to be told.
    var isObstacle: Bool { rawValue & ~0x3 != 0 }
  }

  private let word: Atomic<UInt32>
  private let progress = Atomic<UInt32>(0)

  init(_ conditions: Conditions) { word = Atomic(conditions.rawValue) }

  /// All of them.
  @inline(__always)
  var now: Conditions { Conditions(rawValue: word.load(ordering: .acquiring)) }

  /// Adds a condition; returns whether it is new.
  @discardableResult
  func insert(_ condition: Conditions) -> Bool {
    word.bitwiseOr(condition.rawValue, ordering: .acquiringAndReleasing).oldValue & condition.rawValue == 0
  }

  /// Takes a condition away; returns whether it was there.
  @discardableResult
  func remove(_ condition: Conditions) -> Bool {
    word.bitwiseAnd(~condition.rawValue, ordering: .acquiringAndReleasing).oldValue & condition.rawValue != 0
  }

  /// Adds a condition or takes it away.
  func set(_ condition: Conditions, to isSet: Bool) {
    if isSet { insert(condition) } else { remove(condition) }
  }

  /// How far FORMAT UNIT has come, in parts of 65536.
  func setProgress(_ parts: UInt32) { progress.store(parts, ordering: .relaxed) }

  /// Says what there is to say about the unit, once: that a format is going on, or what has happened meanwhile.
  func takeNews() -> SenseData? {
    if now.contains(.formatting) { return .formatting(progress.load(ordering: .relaxed)) }
    if remove(.capacityChanged) { return .capacityChanged }
    if remove(.formatFailed) { return .formatFailed }
    return nil
  }

  /// Refuses a command that is not possible, or that has to bring news to the initiator first.
  func admit(_ access: CommandDescription.Access) throws(SenseData) {
    if access.contains(.always) { return }
    if let news = takeNews() { throw news }
    let now = now
    if access.contains(.medium) && now.contains(.stopped) { throw .stopped }
    if access.contains(.writes) && now.contains(.softwareWriteProtect) { throw .softwareWriteProtected }
  }
}
