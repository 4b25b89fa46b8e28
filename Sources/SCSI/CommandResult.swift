/// How a command ended: what the transport tells the initiator.
public struct CommandResult: Sendable, Hashable {
  /// The status byte (SAM-5, 5.3.1).
  public enum Status: UInt8, Sendable {
    /// Done.
    case good = 0x00
    /// Not done, or with something to say; there is sense data.
    case checkCondition = 0x02
    /// PRE-FETCH: the blocks fit into the cache.
    case conditionMet = 0x04
    /// Ask again later.
    case busy = 0x08
    /// Another initiator has reserved the logical unit.
    case reservationConflict = 0x18
    /// No room for another command.
    case taskSetFull = 0x28
  }

  /// The status.
  public var status: Status
  /// Sense data, for ``Status/checkCondition``.
  public var sense: SenseData?
  /// How many bytes of data-in are valid, counted from the buffer's start, where that is fewer than the buffer
  /// holds; `nil` if the buffer is full or the command has no data-in.
  public var dataInCount: Int?

  /// Makes a result; the parameters are those of the properties.
  @inlinable
  public init(_ status: Status, sense: SenseData? = nil, dataInCount: Int? = nil) {
    self.status = status
    self.sense = sense
    self.dataInCount = dataInCount
  }

  /// Done, with all of the data.
  public static let good = CommandResult(.good)
}

/// Sense data in fixed terms (SPC-4, 4.5): why a command ended as it did.
public struct SenseData: Sendable, Hashable {
  /// The sense key, 4 bits.
  public var key: UInt8
  /// The additional sense code.
  public var code: UInt8
  /// The additional sense code qualifier.
  public var qualifier: UInt8
  /// The INFORMATION field: what the command's description says it is; `nil` if there is nothing to say.
  public var information: UInt64?
  /// The 3 bytes of the sense-key specific field, SKSV included: a field pointer or a progress; `nil` if none.
  public var specific: UInt32?

  /// Makes sense data; the parameters are those of the properties.
  @inlinable
  public init(
    _ key: UInt8, _ code: UInt8, _ qualifier: UInt8, information: UInt64? = nil, specific: UInt32? = nil
  ) {
    self.key = key
    self.code = code
    self.qualifier = qualifier
    self.information = information
    self.specific = specific
  }
}
