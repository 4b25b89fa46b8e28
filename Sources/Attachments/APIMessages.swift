import BlockCore

/// The body of a request to attach: `POST /v1/attachments`.
public struct AttachRequest: Sendable, Hashable, Codable {
  /// The keys of the JSON object.
  package enum CodingKeys: String, CodingKey, CaseIterable {
    case id, image, transport, readOnly, shared, backstore, withDevID
  }

  /// What the user calls it.
  public var id: String
  /// The image: a path, or a scheme and a path; the path is absolute.
  public var image: String
  /// How the device is to be made; `auto` if it is not there.
  public var transport: String?
  /// Whether writes are to be refused; not if it is not there.
  public var readOnly: Bool?
  /// Whether others may write to the image meanwhile: a mount, or whoever has a loop device over it; not if it is not
  /// there.
  public var shared: Bool?
  /// Who serves a backstore, for `tcmu`: a ``BackstoreChoice``; `auto` if it is not there.
  public var backstore: String?
  /// Whether the backstore's configuration ends with the ID, for `tcmu`; not if it is not there.
  public var withDevID: Bool?

  /// Makes a request; the parameters are those of the properties.
  public init(id: String, image: String, transport: String?, readOnly: Bool?) {
    self.id = id
    self.image = image
    self.transport = transport
    self.readOnly = readOnly
  }
}

/// Which file the manager sees at a path: `GET /v1/files`.
///
/// It may be another one than the caller's, who may have another root or another mount namespace.
public struct FileReply: Sendable, Hashable, Codable {
  /// The device number of its file system.
  public var device: UInt64
  /// Its inode number there.
  public var inode: UInt64

  /// Makes an answer.
  public init(_ file: FileIdentity) {
    device = file.device
    inode = file.inode
  }
}

/// The body of a request to reset what an attachment remembers: `POST /v1/attachments/ID/reset`.
public struct ResetRequest: Sendable, Hashable, Codable {
  /// The keys of the JSON object.
  package enum CodingKeys: String, CodingKey, CaseIterable {
    case flushError
  }

  /// Whether flushes are to begin anew after one has failed.
  public var flushError: Bool?

  /// Makes a request; the parameter is that of the property.
  public init(flushError: Bool?) { self.flushError = flushError }
}

/// Who is to serve a backstore that is made for an overlaybd image.
public enum BackstoreChoice: String, Sendable, Codable, CaseIterable {
  /// Another process of the host, if one runs that serves overlaybd images; else this engine.
  case auto
  /// This engine.
  case ashlar
  /// Another process, which waits for backstores of the subtype `overlaybd`.
  case foreign
}

/// The answer to a request to detach: `DELETE /v1/attachments/ID`.
public struct DetachReply: Sendable, Hashable, Codable {
  /// Whether it is gone; `false` if it goes when its last user is done.
  public var gone: Bool
  /// What was wrong with it, if that may have cost data: a flush that failed; `nil` otherwise.
  public var problem: String?

  /// Makes an answer.
  public init(gone: Bool, problem: String? = nil) {
    self.gone = gone
    self.problem = problem
  }
}

/// What came of a recovery: `POST /v1/recover`.
public struct RecoveryReply: Sendable, Hashable, Codable {
  /// What was there and is in the journal now.
  public var attachments: [AttachmentInfo]
  /// Where damaged journals were put when the manager started.
  public var putAside: [String]

  /// Makes an answer; the parameters are those of the properties.
  public init(attachments: [AttachmentInfo], putAside: [String]) {
    self.attachments = attachments
    self.putAside = putAside
  }
}

/// What a manager says of itself: `GET /v1/status`.
public struct ManagerStatus: Sendable, Hashable, Codable {
  /// The header of a request that is meant for the manager of one root only: that root, percent-encoded.
  public static let rootHeader = "Ashlar-Root"

  /// The release.
  public var version: String
  /// Its process ID.
  public var pid: Int32
  /// How many attachments it looks after.
  public var attachments: Int
  /// When it started, in seconds since 1970-01-01 00:00:00 UTC: it may be replaced within its process.
  public var startedAt: Double
  /// Where it keeps its journal.
  public var root: String
  /// Where it keeps its sockets.
  public var run: String

  /// Makes a status; the parameters are those of the properties.
  public init(
    version: String, pid: Int32, attachments: Int, startedAt: Double, root: String, run: String
  ) {
    self.version = version
    self.pid = pid
    self.attachments = attachments
    self.startedAt = startedAt
    self.root = root
    self.run = run
  }
}

/// The body of every answer that is no success.
public struct ErrorReply: Sendable, Hashable, Codable {
  /// What went wrong.
  public var error: ErrorMessage
  /// How the attach went until then, step by step; `nil` for other requests.
  public var course: [AttachStep]?

  /// Makes an answer; the parameters are those of the properties.
  public init(_ error: BlockError, course: [AttachStep]? = nil) {
    self.error = ErrorMessage(error)
    self.course = course
  }
}
