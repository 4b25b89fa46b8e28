import BlockCore
import LinuxIO

/// What does the work in a part of a device, with its parameters (Documentation/admin-guide/device-mapper).
///
/// Sizes and offsets are in sectors of 512 bytes.
public enum Target: Sendable, Hashable {
  /// A part of another device, from a sector on.
  case linear(DeviceNumbers, start: UInt64)
  /// An origin with changes kept elsewhere.
  case snapshot(Snapshot)
  /// A device that has snapshots, and whose own changes they must not see.
  case snapshotOrigin(DeviceNumbers)
  /// An origin into which a snapshot's changes are being written back.
  case snapshotMerge(Snapshot)
  /// The space of thin devices.
  case thinPool(ThinPool)
  /// A device whose blocks come from a pool as they are written.
  ///
  /// What was never written is read from `origin`, or as zeros.
  case thin(pool: DeviceNumbers, id: UInt32, origin: DeviceNumbers?)
  /// Reads as zeros; writes are lost.
  case zero
  /// Every request fails.
  case error
  /// A target that we do not make; its parameters as the kernel has them.
  case other(type: String, parameters: String)

  /// The parameters of a snapshot.
  public struct Snapshot: Sendable, Hashable {
    /// What the changes are changes to.
    public var origin: DeviceNumbers
    /// Where the changes are kept.
    public var store: DeviceNumbers
    /// Whether and how they outlive the device.
    public var persistence: Persistence
    /// Sectors that are copied at a time: a power of two.
    public var chunkSectors: UInt64
    /// Features, as the kernel names them.
    public var features: [String]

    /// Makes parameters; they are those of the properties.
    public init(
      origin: DeviceNumbers, store: DeviceNumbers, persistence: Persistence, chunkSectors: UInt64,
      features: [String] = []
    ) {
      self.origin = origin
      self.store = store
      self.persistence = persistence
      self.chunkSectors = chunkSectors
      self.features = features
    }
  }

  /// Whether the changes of a snapshot outlive it.
  public enum Persistence: String, Sendable {
    /// They do; a store that has become full is invalid for good.
    case persistent = "P"
    /// They do; a store that has become full refuses writes and can still be read.
    case persistentWithOverflow = "PO"
    /// They do not.
    case transient = "N"
  }

  /// The parameters of a pool.
  public struct ThinPool: Sendable, Hashable {
    /// Where it notes what is where.
    public var metadata: DeviceNumbers
    /// Where the data is.
    public var data: DeviceNumbers
    /// Sectors of a block: a multiple of 128, from 128 to 2097152.
    public var blockSectors: UInt64
    /// With so few free blocks it raises an event.
    public var lowWaterBlocks: UInt64
    /// Features, as the kernel names them: `skip_block_zeroing`, `error_if_no_space` and others.
    public var features: [String]

    /// Makes parameters; they are those of the properties.
    public init(
      metadata: DeviceNumbers, data: DeviceNumbers, blockSectors: UInt64, lowWaterBlocks: UInt64,
      features: [String]
    ) {
      self.metadata = metadata
      self.data = data
      self.blockSectors = blockSectors
      self.lowWaterBlocks = lowWaterBlocks
      self.features = features
    }
  }
}

extension Target {
  /// What the kernel calls it.
  public var type: String {
    switch self {
    case .linear: "linear"
    case .snapshot: "snapshot"
    case .snapshotOrigin: "snapshot-origin"
    case .snapshotMerge: "snapshot-merge"
    case .thinPool: "thin-pool"
    case .thin: "thin"
    case .zero: "zero"
    case .error: "error"
    case .other(let type, _): type
    }
  }

  /// Its parameters as the kernel reads them.
  public var parameters: String {
    switch self {
    case .linear(let device, let start): return "\(device) \(start)"
    case .snapshot(let snapshot), .snapshotMerge(let snapshot):
      let features =
        snapshot.features.isEmpty ? [] : ["\(snapshot.features.count)"] + snapshot.features
      return
        ([
          "\(snapshot.origin)", "\(snapshot.store)", snapshot.persistence.rawValue,
          "\(snapshot.chunkSectors)",
        ]
        + features).joined(separator: " ")
    case .snapshotOrigin(let device): return "\(device)"
    case .thinPool(let pool):
      return
        ([
          "\(pool.metadata)", "\(pool.data)", "\(pool.blockSectors)", "\(pool.lowWaterBlocks)",
          "\(pool.features.count)",
        ] + pool.features).joined(separator: " ")
    case .thin(let pool, let id, let origin): return "\(pool) \(id)\(origin.map { " \($0)" } ?? "")"
    case .zero, .error: return ""
    case .other(_, let parameters): return parameters
    }
  }

  /// Reads the parameters that the kernel gives for a target.
  ///
  /// - Throws: `invalidArgument` with the parameter at fault.
  public init(type: String, parameters: String) throws(BlockError) {
    guard parameters.utf8.count <= Limits.deviceMapperParameterBytes else {
      throw BlockError(
        .exhausted, step: "read the parameters of", object: "a target \(type.prefix(16))",
        cause: "they have more than \(Limits.deviceMapperParameterBytes) bytes")
    }
    var fields = Fields(parameters, of: type)
    switch type {
    case "linear":
      self = .linear(try fields.device("device"), start: try fields.number("start"))
    case "snapshot": self = .snapshot(try Snapshot(&fields))
    case "snapshot-merge": self = .snapshotMerge(try Snapshot(&fields))
    case "snapshot-origin": self = .snapshotOrigin(try fields.device("device"))
    case "thin-pool":
      self = .thinPool(
        ThinPool(
          metadata: try fields.device("metadata device"), data: try fields.device("data device"),
          blockSectors: try fields.number("block size"), lowWaterBlocks: try fields.number("low water mark"),
          features: try fields.features()))
    case "thin":
      let pool = try fields.device("pool device")
      let id = try fields.number("device ID")
      guard id < 1 << 24 else { throw fields.reject("its device ID \(id) has more than 24 bits") }
      self = .thin(pool: pool, id: UInt32(id), origin: fields.isEmpty ? nil : try fields.device("origin"))
    case "zero": self = .zero
    case "error": self = .error
    default:
      self = .other(type: type, parameters: parameters)
      return
    }
    try fields.end()
  }
}

extension Target.Snapshot {
  fileprivate init(_ fields: inout Fields) throws(BlockError) {
    origin = try fields.device("origin")
    store = try fields.device("store")
    let text = try fields.next("persistence")
    guard let persistence = Target.Persistence(rawValue: text) else {
      throw fields.reject("its persistence \"\(text.prefix(16))\" is none of P, PO and N")
    }
    self.persistence = persistence
    chunkSectors = try fields.number("chunk size")
    guard chunkSectors > 0, chunkSectors & (chunkSectors - 1) == 0 else {
      throw fields.reject("its chunk size \(chunkSectors) is no power of two")
    }
    features = fields.isEmpty ? [] : try fields.features()
  }
}
