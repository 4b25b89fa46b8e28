import BlockCore

/// What a sandbox is doing.
public enum SandboxState: String, Sendable, Codable {
  /// It is being made; nobody was told of its device yet.
  case creating
  /// Its device is there.
  case running
  /// Its device is to go, and somebody still uses it.
  case pausing
  /// Its changes are kept, and there is no device.
  case paused
  /// Its device is being made again.
  case resuming
  /// It is to go with its changes, and somebody may still use its device.
  case removing
  /// Its changes are being written into its base.
  case merging
  /// A newer release has left it in a way that this one does not understand: nothing is done to it.
  case unknown

  /// A state of a newer release is unknown to this one.
  public init(from decoder: any Decoder) throws {
    self = Self(rawValue: try decoder.singleValueContainer().decode(String.self)) ?? .unknown
  }
}

/// How a sandbox's changes are kept.
public enum SandboxDriver: String, Sendable, Codable, CaseIterable {
  /// In an exception store of dm-snapshot.
  case snapshot
  /// In a pool of dm-thin.
  case thin
  /// In a way that only a newer release knows.
  case unknown

  /// Those that can be asked for.
  public static let allCases: [SandboxDriver] = [.snapshot, .thin]

  /// A driver of a newer release is unknown to this one.
  public init(from decoder: any Decoder) throws {
    self = Self(rawValue: try decoder.singleValueContainer().decode(String.self)) ?? .unknown
  }
}

/// The body of a request for a new sandbox: `POST /v1/sandboxes`.
public struct SandboxRequest: Sendable, Hashable, Codable {
  /// The keys of the JSON object.
  package enum CodingKeys: String, CodingKey, CaseIterable {
    case name, base, size, store, driver, quota, rawBytes
  }

  /// What to call it.
  public var name: String
  /// The base: a raw image's absolute path.
  public var base: String
  /// The size of its disk in bytes; the base's if it is not there.
  public var size: UInt64?
  /// Where its changes are kept: an absolute path; a file of the instance's own if it is not there.
  public var store: String?
  /// How they are kept; chosen if it is not there.
  public var driver: SandboxDriver?
  /// The most that the changes may take, in bytes.
  public var quota: UInt64?
  /// Whether a base in another disk format will do, whose own bytes are meant; not if it is not there.
  public var rawBytes: Bool?

  /// Makes a request; the parameters are those of the properties.
  public init(
    name: String, base: String, size: UInt64? = nil, store: String? = nil, driver: SandboxDriver? = nil,
    quota: UInt64? = nil, rawBytes: Bool? = nil
  ) {
    self.name = name
    self.base = base
    self.size = size
    self.store = store
    self.driver = driver
    self.quota = quota
    self.rawBytes = rawBytes
  }
}

/// The body of `POST /v1/sandboxes/NAME/flatten` and `…/fork`.
public struct SandboxTarget: Sendable, Hashable, Codable {
  /// The keys of the JSON object.
  package enum CodingKeys: String, CodingKey, CaseIterable {
    case target, replace
  }

  /// The new file's absolute path, or the new sandbox's name.
  public var target: String
  /// Whether an existing file is replaced; not if it is not there.
  public var replace: Bool?

  /// Makes a body; the parameters are those of the properties.
  public init(target: String, replace: Bool? = nil) {
    self.target = target
    self.replace = replace
  }
}

/// What a flattening came to.
public struct FlattenReply: Sendable, Hashable, Codable {
  /// The new file's size in bytes.
  public var size: UInt64
  /// How many of them were written; the rest is holes.
  public var written: UInt64

  /// Makes an answer; the parameters are those of the properties.
  public init(size: UInt64, written: UInt64) {
    self.size = size
    self.written = written
  }
}

/// The answer to a request whose end may have to wait for somebody else.
public struct SandboxGone: Sendable, Hashable, Codable {
  /// What was removed, or is removed now.
  public var removed: [String]

  /// Makes an answer.
  public init(removed: [String]) { self.removed = removed }
}

/// Something that happened to a sandbox.
public struct SandboxEvent: Sendable, Hashable, Codable {
  /// Counts up from 1 since the manager was started.
  public var number: UInt64
  /// When: seconds since 1970-01-01 00:00:00 UTC.
  public var time: Double
  /// Whose.
  public var name: String
  /// `watermark`, `invalid`, `gone`, `grown` or `full`.
  public var kind: String
  /// In words.
  public var text: String

  /// Makes an event; the parameters are those of the properties.
  public init(number: UInt64, time: Double, name: String, kind: String, text: String) {
    self.number = number
    self.time = time
    self.name = name
    self.kind = kind
    self.text = text
  }
}

/// Everything there is to say about a sandbox: what `ashlar sandbox ls --json` prints.
public struct SandboxInfo: Sendable, Hashable, Codable {
  /// What its changes are changes to.
  public struct Base: Sendable, Hashable, Codable {
    /// The image's path.
    public var path: String
    /// The SHA-256 of its content, in hexadecimal.
    public var sha256: String
    /// Its size in bytes.
    public var size: UInt64

    /// Makes a description; the parameters are those of the properties.
    public init(path: String, sha256: String, size: UInt64) {
      self.path = path
      self.sha256 = sha256
      self.size = size
    }
  }

  /// Where its changes are.
  public struct Store: Sendable, Hashable, Codable {
    /// The file's path.
    public var path: String
    /// How they are kept.
    public var driver: SandboxDriver
    /// Bytes that the file takes on its disk; `nil` if it does not answer.
    public var allocated: UInt64?
    /// How full it is in percent; `nil` while there is no device.
    public var percent: Int?
    /// The most that the changes may take, in bytes.
    public var quota: UInt64?

    /// Makes a description; the parameters are those of the properties.
    public init(path: String, driver: SandboxDriver, allocated: UInt64?, percent: Int?, quota: UInt64?) {
      self.path = path
      self.driver = driver
      self.allocated = allocated
      self.percent = percent
      self.quota = quota
    }
  }

  /// Something that takes long.
  public struct Work: Sendable, Hashable, Codable {
    /// `flatten` or `merge`.
    public var kind: String
    /// Bytes done.
    public var done: UInt64
    /// Bytes there are to do.
    public var total: UInt64

    /// Makes a description; the parameters are those of the properties.
    public init(kind: String, done: UInt64, total: UInt64) {
      self.kind = kind
      self.done = done
      self.total = total
    }
  }

  /// What it is called.
  public var name: String
  /// What it is doing.
  public var state: SandboxState
  /// Its device's path; `nil` while there is none.
  public var device: String?
  /// The size of its disk in bytes.
  public var size: UInt64
  /// What its changes are changes to.
  public var base: Base
  /// Where they are.
  public var store: Store
  /// When it was made: seconds since 1970-01-01 00:00:00 UTC.
  public var createdAt: Double
  /// What is wrong with it.
  public var problem: String?
  /// What takes long at the moment.
  public var work: Work?

  /// Makes a description; the parameters are those of the properties.
  public init(
    name: String, state: SandboxState, device: String?, size: UInt64, base: Base, store: Store,
    createdAt: Double, problem: String?, work: Work?
  ) {
    self.name = name
    self.state = state
    self.device = device
    self.size = size
    self.base = base
    self.store = store
    self.createdAt = createdAt
    self.problem = problem
    self.work = work
  }
}
