import BlockCore
import FoundationEssentials
import LinuxIO

/// What a data server is started with.
public struct ServerOrder: Sendable, Codable {
  /// What the user calls the attachment.
  public var id: AttachmentID
  /// The name of the exported file, given once and never again: by it the journal knows the loop device.
  public var exportName: String
  /// What to attach.
  public var spec: AttachmentSpec
  /// How many threads serve it.
  public var queueCount: Int
  /// What there is already.
  public var start: Start
  /// The size that the device had when it was served last, in bytes; 0 if it never was.
  public var byteCount: UInt64
  /// How many layers it had then; `nil` if nothing is known.
  public var layers: Int?
  /// What was set in the disk's mode pages when it was served last (``ServerStatus/settings``); `nil` if nothing is known.
  public var settings: UInt32?
  /// What an earlier data server has served: nothing else is to take its place; `nil` if nothing was.
  public var pin: ImagePin?
  /// The flush that has failed in an earlier one, and that nobody has reset.
  public var flushFailure: FlushFailure?

  /// What a data server finds when it begins.
  public enum Start: String, Sendable, Codable {
    /// A device that nobody has served yet.
    case fresh
    /// A device whose data server has died: what is outstanding is to be done.
    case takeOver
    /// A device whose data server has stopped in good order: what it had not taken is outstanding.
    case resume
    /// As ``takeOver``, but everything is to fail, so that the device can be taken apart: the image is not opened.
    case drain
  }

  /// Makes an order; the parameters are those of the properties.
  public init(
    id: AttachmentID, exportName: String, spec: AttachmentSpec, queueCount: Int, start: Start,
    byteCount: UInt64, settings: UInt32? = nil
  ) {
    self.id = id
    self.exportName = exportName
    self.spec = spec
    self.queueCount = queueCount
    self.start = start
    self.byteCount = byteCount
    self.settings = settings
  }
}

/// A change to a device that is in use.
public enum DeviceChange: Sendable, Hashable, Codable {
  /// It is to have another size, in bytes.
  case size(UInt64)
  /// It is to have a volatile write cache, or none.
  case writeCache(Bool)
  /// It is to have another configuration.
  case configuration(String)
  /// Its flushes are to begin anew: somebody knows what the one that failed has lost.
  case resetFlushFailure
}

/// What the manager tells a data server.
public enum ManagerMessage: Sendable {
  /// Which version of the messages the manager speaks; sent to those only that have told theirs.
  case hello(ManagerHello)
  /// Open the image and make the device.
  case attach(ServerOrder)
  /// The device is in the journal: it is to live on when this connection ends.
  case commit
  /// Say what was asked of the device so far.
  case report
  /// Let the device go: it ends when nobody else has it open.
  case detach
  /// Change the device while it is in use.
  case change(DeviceChange)
  /// Take no more requests, answer those that were taken, and end: another data server goes on.
  case handOver
}

/// What a data server tells the manager.
public enum ServerMessage: Sendable {
  /// The first message of every connection: what there is.
  case status(ServerStatus)
  /// The device is there. Its descriptor comes along.
  case attached(ServerStatus)
  /// It could not be made; the server ends.
  case failed(ErrorMessage)
  /// The answer to `report`.
  case counters(RequestCounters.Snapshot)
  /// The answer to `detach`: the server does not have the device open any more. Whoever is the last one who
  /// has it open writes what is in its page cache, through the server; so that is not to be the server itself.
  case released
  /// The device is gone; the server ends.
  case detached
  /// The answer to `handOver`: everything that was taken is answered, and the storage is closed; the server ends.
  case handedOver
  /// The answer to `change`: what kept it from being done, if anything did.
  case changed(ErrorMessage?)
  /// The answer to a request that the server does not understand.
  case refused(ErrorMessage)
}

/// What a manager says of itself.
public struct ManagerHello: Sendable, Hashable, Codable {
  /// The version of the messages that it speaks.
  public var version: Int

  /// Makes a hello of this release.
  public init() { version = WireProtocol.version }

  public init(from decoder: any Decoder) throws {
    version = try decoder.container(keyedBy: CodingKeys.self).decodeIfPresent(Int.self, forKey: .version) ?? 1
  }
}

/// What a data server says of itself: whatever a journal needs to know of it.
public struct ServerHello: Sendable, Hashable, Codable {
  /// The version of the messages that it speaks.
  public var version: Int
  /// Its process ID.
  public var pid: Int32?
  /// When it started, in clock ticks since boot.
  public var startTime: UInt64?
  /// What the user calls the attachment; `nil` before the order.
  public var id: String?
  /// What is attached; `nil` before the order, and if the reader's release does not understand it.
  public var spec: AttachmentSpec?
  /// When it got its order: seconds since 1970-01-01 00:00:00 UTC.
  public var createdAt: Double?
  /// Whether the device was committed.
  public var isCommitted: Bool?

  /// Makes a hello of this release.
  public init() { version = WireProtocol.version }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    version = try container.decodeIfPresent(Int.self, forKey: .version) ?? 1
    pid = try container.decodeIfPresent(Int32.self, forKey: .pid)
    startTime = try container.decodeIfPresent(UInt64.self, forKey: .startTime)
    id = try container.decodeIfPresent(String.self, forKey: .id)
    // A newer release may know transports that this one does not; all the rest counts nevertheless.
    spec = try? container.decodeIfPresent(AttachmentSpec.self, forKey: .spec)
    createdAt = try container.decodeIfPresent(Double.self, forKey: .createdAt)
    isCommitted = try container.decodeIfPresent(Bool.self, forKey: .isCommitted)
  }
}

/// What a data server holds.
public struct ServerStatus: Sendable, Hashable, Codable {
  /// The name of the exported file.
  public var exportName: String
  /// The device's path; `nil` until there is one.
  public var device: String?
  /// The UIO device whose ring is served, for a backstore: `uio0`.
  public var ring: String?
  /// The number of the FUSE connection, by which it can be aborted from outside.
  public var connection: UInt32?
  /// The size in bytes.
  public var size: UInt64
  /// Whether writes are refused.
  public var readOnly: Bool
  /// The image's format.
  public var format: String?
  /// How many layers it has.
  public var layers: Int
  /// What was set in the mode pages of a SCSI disk: the next data server goes on with it.
  public var settings: UInt32?
  /// What is served, for the next one who serves it.
  public var pin: ImagePin?
  /// The flush that has failed, if one has.
  public var flushFailure: FlushFailure?
  /// Things that a user should know.
  public var notices: [String]
  /// What the server says of itself, in the first message of a connection; `nil` from a release that spoke version 1.
  public var hello: ServerHello?

  /// Whether the image is being served.
  public var isServing: Bool { device != nil || ring != nil }

  /// Nothing but a name.
  public init(exportName: String) {
    self.exportName = exportName
    size = 0
    readOnly = false
    layers = 0
    notices = []
  }

  /// Fields that another release does not have are as if nothing were known of them.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    exportName = try container.decodeIfPresent(String.self, forKey: .exportName) ?? ""
    device = try container.decodeIfPresent(String.self, forKey: .device)
    ring = try container.decodeIfPresent(String.self, forKey: .ring)
    connection = try container.decodeIfPresent(UInt32.self, forKey: .connection)
    size = try container.decodeIfPresent(UInt64.self, forKey: .size) ?? 0
    readOnly = try container.decodeIfPresent(Bool.self, forKey: .readOnly) ?? false
    format = try container.decodeIfPresent(String.self, forKey: .format)
    layers = try container.decodeIfPresent(Int.self, forKey: .layers) ?? 0
    settings = try container.decodeIfPresent(UInt32.self, forKey: .settings)
    pin = try container.decodeIfPresent(ImagePin.self, forKey: .pin)
    flushFailure = try container.decodeIfPresent(FlushFailure.self, forKey: .flushFailure)
    notices = try container.decodeIfPresent([String].self, forKey: .notices) ?? []
    hello = try container.decodeIfPresent(ServerHello.self, forKey: .hello)
  }
}

extension MessageSocket {
  /// Sends a message as JSON.
  ///
  /// - Parameters:
  ///   - message: The message.
  ///   - request: The number of the request that it is or answers.
  ///   - descriptors: What goes along; they stay the sender's.
  /// - Throws: As ``LinuxIO/MessageSocket/send(_:descriptors:)``.
  public func send(
    _ message: some WireMessage, request: UInt64? = nil, descriptors: [Int32] = []
  ) throws(BlockError) {
    try send(try message.encoded(request: request), descriptors: descriptors)
  }
}

/// Writes a message as JSON.
///
/// - Throws: `ioError` for what JSON cannot hold.
public func encodeMessage(_ message: some Encodable) throws(BlockError) -> [UInt8] {
  do {
    return Array(try JSONEncoder().encode(message))
  } catch {
    throw BlockError(.ioError, step: "encode", object: "a message", cause: "\(error)")
  }
}

/// Reads a message from JSON.
///
/// - Throws: `corrupt` for something else.
public func decodeMessage<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8]) throws(BlockError)
  -> Message
{
  do {
    return try JSONDecoder().decode(type, from: Data(bytes))
  } catch {
    throw BlockError(.corrupt, step: "decode", object: "a message", cause: "\(error)")
  }
}
