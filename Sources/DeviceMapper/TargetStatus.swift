import BlockCore

/// How a target is doing, as the kernel's status line says.
public enum TargetStatus: Sendable, Hashable {
  /// A snapshot, or one that is being merged.
  case snapshot(Snapshot)
  /// A thin pool.
  case thinPool(ThinPool)
  /// A thin device.
  case thin(Thin)
  /// A target that has nothing to say, or that we do not know: its words.
  case other(type: String, text: String)

  /// A snapshot.
  public enum Snapshot: Sendable, Hashable {
    /// It works. `used` counts sectors of the store, its metadata included; `metadata` those of the metadata.
    case active(used: Usage, metadata: UInt64)
    /// Changes were lost; every read and write fails.
    case invalid
    /// The store is full; writes fail.
    case overflow
    /// A merge could not be done.
    case mergeFailed
    /// The kernel cannot tell.
    case unknown
  }

  /// A thin pool.
  public enum ThinPool: Sendable, Hashable {
    /// It works, as well as it says.
    case active(Numbers)
    /// It does not work any more.
    case failed

    /// What a pool says of itself.
    public struct Numbers: Sendable, Hashable {
      /// Counts what its user has changed.
      public var transaction: UInt64
      /// Blocks of the metadata device.
      public var metadata: Usage
      /// Blocks of the data device.
      public var data: Usage
      /// Whether it takes writes.
      public var mode: Mode
      /// Whether writes fail at once when there is no space, instead of waiting for some.
      public var failsWithoutSpace: Bool
      /// Whether its metadata has to be checked before it takes writes again.
      public var needsCheck: Bool
    }

    /// Whether a pool takes writes.
    public enum Mode: String, Sendable {
      /// It does.
      case readWrite = "rw"
      /// It does not, after an error.
      case readOnly = "ro"
      /// Only to blocks that are there already.
      case outOfDataSpace = "out_of_data_space"
    }
  }

  /// A thin device.
  public enum Thin: Sendable, Hashable {
    /// It works, and so many of its sectors have a block of the pool.
    case active(mappedSectors: UInt64)
    /// It does not work any more.
    case failed
  }

  /// Reads a status line.
  ///
  /// - Throws: `invalidArgument` with the word at fault.
  public init(type: String, text: String) throws(BlockError) {
    guard text.utf8.count <= Limits.deviceMapperParameterBytes else {
      throw BlockError(
        .exhausted, step: "read the status of", object: "a target \(type.prefix(16))",
        cause: "it has more than \(Limits.deviceMapperParameterBytes) bytes")
    }
    var fields = Fields(text, of: type)
    switch type {
    case "snapshot", "snapshot-merge": self = .snapshot(try Snapshot(text, &fields))
    case "thin-pool": self = .thinPool(try ThinPool(&fields))
    case "thin":
      let word = try fields.next("mapped sectors")
      if word == "Fail" || word == "Error" {
        self = .thin(.failed)
      } else {
        var fields = Fields(text, of: type)
        self = .thin(.active(mappedSectors: try fields.number("mapped sectors")))
      }
    default: self = .other(type: type, text: text)
    }
  }
}

extension TargetStatus.Snapshot {
  fileprivate init(_ text: String, _ fields: inout Fields) throws(BlockError) {
    switch text {
    case "Invalid": self = .invalid
    case "Overflow": self = .overflow
    case "Merge failed": self = .mergeFailed
    case "Unknown": self = .unknown
    default:
      self = .active(used: try fields.pair("used sectors"), metadata: try fields.number("metadata sectors"))
      try fields.end()
    }
  }
}

extension TargetStatus.ThinPool {
  fileprivate init(_ fields: inout Fields) throws(BlockError) {
    let first = try fields.next("transaction")
    if first == "Fail" || first == "Error" {
      self = .failed
      return
    }
    guard let transaction = UInt64(first) else { throw fields.reject("its transaction is no number") }
    let metadata = try fields.pair("metadata usage")
    let data = try fields.pair("data usage")
    _ = try fields.next("held root")
    // What follows differs with the kernel's version; words are known by themselves.
    let words = Set(fields.takeAll())
    guard
      let mode = [Mode.readWrite, .readOnly, .outOfDataSpace].first(where: { words.contains($0.rawValue) })
    else { throw fields.reject("it does not say whether it takes writes") }
    self = .active(
      Numbers(
        transaction: transaction, metadata: metadata, data: data, mode: mode,
        failsWithoutSpace: words.contains("error_if_no_space"), needsCheck: words.contains("needs_check")))
  }
}
