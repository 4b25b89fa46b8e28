import BlockCore

/// What is to be attached, and how: what makes two requests for one ID the same.
public struct AttachmentSpec: Sendable, Hashable, Codable {
  /// How the image's path is to be understood: a scheme's name, or `nil` to recognise it.
  public var scheme: String?
  /// The image's path, absolute and with links resolved.
  public var path: String
  /// The content of an image configuration at the time of attaching; `nil` for other images.
  public var configuration: String?
  /// Which transport was asked for.
  public var transport: TransportChoice
  /// Whether a read-only disk was asked for.
  public var isReadOnly: Bool
  /// Whether others may write to the image meanwhile: a mount, or whoever has a loop device over it; not if it is not
  /// there.
  public var isShared: Bool?
  /// The backstore, for the transport `tcmu`.
  public var backstore: BackstoreSpec?

  /// Makes a spec; the parameters are those of the properties.
  public init(
    scheme: String?, path: String, configuration: String?, transport: TransportChoice, isReadOnly: Bool,
    isShared: Bool? = nil, backstore: BackstoreSpec? = nil
  ) {
    self.scheme = scheme
    self.path = path
    self.configuration = configuration
    self.transport = transport
    self.isReadOnly = isReadOnly
    self.isShared = isShared
    self.backstore = backstore
  }

  /// The image as a user may write it.
  public var image: String { scheme.map { "\($0):\(path)" } ?? path }

  /// In what another spec differs, in words; `nil` if in nothing.
  public func difference(to other: AttachmentSpec) -> String? {
    if scheme != other.scheme || !Self.isSame(path, other.path) {
      return "its image is \(image), not \(other.image)"
    }
    if !Self.isSame(configuration ?? "", other.configuration ?? "") {
      return "the content of \(path) has changed since it was attached"
    }
    if isReadOnly != other.isReadOnly { return isReadOnly ? "it is read-only" : "it is not read-only" }
    if isShared ?? false != other.isShared ?? false {
      return isShared ?? false ? "it is shared with other writers" : "it is not shared with other writers"
    }
    if transport != other.transport { return "its transport was asked to be \(transport.rawValue)" }
    if backstore?.role != other.backstore?.role {
      return backstore?.role == .foreign ? "another process serves it" : "this engine serves it"
    }
    let configuration = backstore?.configuration ?? ""
    if !Self.isSame(configuration, other.backstore?.configuration ?? "") {
      return "its dev_config is \(configuration)"
    }
    return nil
  }

  /// Whether two texts have the same bytes, as file names do; to Swift, texts that look the same are equal.
  private static func isSame(_ one: String, _ other: String) -> Bool { one.utf8.elementsEqual(other.utf8) }
}

/// Which transport a user asks for.
public enum TransportChoice: String, Sendable, Codable, CaseIterable {
  /// The best that the host offers.
  case auto
  /// A file in FUSE with a loop device on top: on any Linux.
  case fuse
  /// A SCSI disk over the kernel's TCM-USER backstore and its loopback fabric.
  case tcmu
}

/// A device's state, as users see it.
public enum AttachmentState: String, Sendable, Codable {
  /// Being made; not usable yet.
  case attaching
  /// Usable.
  case attached
  /// Being taken apart; it goes when the last one who has it open closes it.
  case detaching
  /// Its data server is gone. Over FUSE reads and writes fail until it is detached; over TCMU they wait.
  case failed
  /// It is there, and the journal does not know it, or knows it in a way that this release does not understand: nothing
  /// is done to it by itself.
  case unknown

  /// A state of a newer release is unknown to this one.
  public init(from decoder: any Decoder) throws {
    self = Self(rawValue: try decoder.singleValueContainer().decode(String.self)) ?? .unknown
  }
}
