import BlockCore

/// Where things are in a ring's memory: the mailbox that the kernel has filled in (`struct tcmu_mailbox` of
/// linux/target_core_user.h).
public struct RingLayout: Sendable, Hashable {
  /// Bytes of the mailbox.
  public static let mailboxByteCount = 128
  /// Where the kernel keeps the head.
  public static let headOffset = 12
  /// Where we keep the tail, in a cache line of its own.
  public static let tailOffset = 64

  /// What the kernel can do.
  public struct Features: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt16
    /// Makes a set from its bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Commands may be completed in another order than they came in.
    public static let outOfOrder = Features(rawValue: 1)
    /// A completion may say how many bytes of data-in are valid.
    public static let readLength = Features(rawValue: 2)
    /// Task management requests are announced.
    public static let taskManagement = Features(rawValue: 4)
    /// A command's data may be kept beyond its completion.
    public static let keptBuffers = Features(rawValue: 8)
  }

  /// What the kernel can do.
  public let features: Features
  /// Where the command ring begins, in bytes from the start of the memory.
  public let ringOffset: Int
  /// Bytes of the command ring; not a power of two.
  public let ringByteCount: UInt32
  /// The whole memory's size in bytes: the data area goes from the ring's end to there.
  public let byteCount: Int

  /// Where the data area begins, in bytes from the start of the memory.
  public var dataOffset: Int { ringOffset + Int(ringByteCount) }

  /// Reads a mailbox.
  ///
  /// - Throws: `unsupported` for a version that we do not know, `corrupt` for places that are not in the memory.
  public init(_ memory: borrowing RingMemory, name: String) throws(BlockError) {
    let version = memory.load(0, as: UInt16.self)
    features = Features(rawValue: memory.load(2, as: UInt16.self))
    guard version == 2, features.contains(.outOfOrder) else {
      throw BlockError(
        .unsupported, step: "read the mailbox of", object: name,
        cause: "its version is \(version), its flags are \(features.rawValue)",
        remedy: "Use a kernel of 5.10 or newer.")
    }
    let offset = memory.load(4, as: UInt32.self)
    let size = memory.load(8, as: UInt32.self)
    guard offset >= Self.mailboxByteCount, offset % RingEntry.alignment == 0, size % RingEntry.alignment == 0,
      size >= RingEntry.smallestCommand, UInt64(offset) + UInt64(size) <= UInt64(memory.byteCount)
    else {
      throw BlockError(
        .corrupt, step: "read the mailbox of", object: name,
        cause:
          "its command ring of \(size) bytes at \(offset) is not in the \(memory.byteCount) bytes that there are"
      )
    }
    ringOffset = Int(offset)
    ringByteCount = size
    byteCount = memory.byteCount
  }
}

/// The head that every entry of a ring has (`struct tcmu_cmd_entry_hdr`), and where the fields behind it are.
struct RingEntry {
  enum Operation {
    case padding
    case command
    case taskManagement
    /// One that this version of the interface does not have.
    case unknown
  }

  /// Entries begin at multiples of it, and are as long (`TCMU_OP_ALIGN_SIZE`).
  static let alignment: UInt32 = 8
  /// Bytes of an answer: head, status, and 96 bytes of sense data; a command's entry has room for one.
  static let smallestCommand: UInt32 = 112

  // The head.
  static let identifierOffset = 4
  static let userFlagsOffset = 7
  // A command as it comes.
  static let pieceCountOffset = 8
  static let otherPieceCountsOffset = 12
  static let blockOffsetOffset = 24
  static let piecesOffset = 48
  static let pieceByteCount = 16
  // The answer, in the same place.
  static let statusOffset = 8
  static let readLengthOffset = 12
  static let senseOffset = 16
  static let senseByteCount = 96

  // Flags of an answer (`uflags`).
  static let unknownOperation: UInt8 = 1
  static let hasReadLength: UInt8 = 2

  let operation: Operation
  /// Bytes of the whole entry.
  let byteCount: UInt32

  /// Reads the head of an entry.
  ///
  /// - Parameters:
  ///   - word: `len_op`: the length, with the operation in its low 3 bits.
  ///   - available: Bytes up to where entries end; the entry may not go beyond.
  ///   - untilWrap: Bytes up to the end of the ring; the same.
  /// - Returns: `nil` if no entry can have that head.
  @inline(__always)
  init?(_ word: UInt32, available: UInt32, untilWrap: UInt32) {
    byteCount = word & ~7
    switch word & 7 {
    case 0: operation = .padding
    case 1: operation = .command
    case 2: operation = .taskManagement
    default: operation = .unknown
    }
    guard byteCount > 0, byteCount <= available, byteCount <= untilWrap else { return nil }
    if operation == .command && byteCount < Self.smallestCommand { return nil }
  }
}
