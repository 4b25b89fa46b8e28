/// One request to a volume: what is to be done to which bytes.
///
/// The data travels beside it, as the span that ``Volume/serveNow(_:data:using:)`` takes.
public struct BlockRequest: Sendable, Hashable {
  /// What a request can ask for: the operations of the Linux block layer (`enum req_op`).
  public enum Operation: UInt8, Sendable, CaseIterable {
    /// Fill the data with the volume's bytes.
    case read
    /// Replace the volume's bytes by the data.
    case write
    /// Put every write that was acknowledged before on stable storage. Has no range.
    case flush
    /// Forget the range's content; what it reads as afterwards is up to the volume.
    case discard
    /// Make the range read as zeros.
    case writeZeroes

    /// Whether the operation changes the volume's content.
    public var isWrite: Bool {
      switch self {
      case .read, .flush: false
      case .write, .discard, .writeZeroes: true
      }
    }
  }

  /// How a write is to be done.
  public struct Flags: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt8
    /// Makes a set from its bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The write is on stable storage before it is acknowledged (FUA).
    public static let forceUnitAccess = Flags(rawValue: 1)
    /// ``Operation/writeZeroes`` may give the space back (the opposite of `REQ_NOUNMAP`).
    public static let mayUnmap = Flags(rawValue: 2)
  }

  /// What is to be done.
  public var operation: Operation
  /// How it is to be done.
  public var flags: Flags
  /// Where the range begins, in bytes from the start of the volume.
  public var offset: UInt64
  /// The length of the range in bytes.
  public var byteCount: UInt64

  /// Makes a request; the parameters are those of the properties.
  @inlinable
  public init(_ operation: Operation, at offset: UInt64, byteCount: UInt64, flags: Flags = []) {
    self.operation = operation
    self.flags = flags
    self.offset = offset
    self.byteCount = byteCount
  }

  /// A request to put all acknowledged writes on stable storage.
  public static let flush = BlockRequest(.flush, at: 0, byteCount: 0)

  /// Whether data travels beside the request.
  @inlinable
  public var carriesData: Bool { operation == .read || operation == .write }
}

extension BlockRequest {
  /// Checks a request from outside against a volume, so that volumes may rely on it.
  ///
  /// - Parameters:
  ///   - geometry: The volume's geometry.
  ///   - dataCount: How many bytes of data travel beside the request.
  /// - Throws: `invalidArgument` for a misaligned range or data of another length, `outOfRange` for a
  ///   range that leaves the volume, `readOnly` for a change to a read-only volume.
  @inlinable
  public func validate(for geometry: VolumeGeometry, dataCount: Int) throws(BlockError) {
    let blockMask = UInt64(geometry.logicalBlockSize) &- 1
    let isSound =
      (offset | byteCount) & blockMask == 0
      && offset <= geometry.byteCount
      && byteCount <= geometry.byteCount &- offset
      && UInt64(dataCount) == (carriesData ? byteCount : 0)
      && !(geometry.isReadOnly && operation.isWrite)
    if !isSound { throw rejection(for: geometry, dataCount: dataCount) }
  }

  /// Says which of the rules of ``validate(for:dataCount:)`` a request broke.
  @usableFromInline
  func rejection(for geometry: VolumeGeometry, dataCount: Int) -> BlockError {
    let object = "\(byteCount) bytes at byte \(offset)"
    if geometry.isReadOnly && operation.isWrite {
      return BlockError(.readOnly, step: "\(operation)", object: object, cause: "the volume is read-only")
    }
    if offset > geometry.byteCount || byteCount > geometry.byteCount - offset {
      return BlockError(
        .outOfRange, step: "\(operation)", object: object,
        cause: "the volume ends at byte \(geometry.byteCount)")
    }
    let data = carriesData ? " and \(dataCount) bytes of data" : ""
    return BlockError(
      .invalidArgument, step: "\(operation)", object: object,
      cause: "a request\(data) must be whole blocks of \(geometry.logicalBlockSize) bytes")
  }
}
