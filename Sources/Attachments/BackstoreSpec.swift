import BlockCore

/// A TCM-USER backstore: which one it is in configfs, and whose.
public struct BackstoreSpec: Sendable, Hashable, Codable {
  /// Who makes a backstore, and who serves it.
  public enum Role: String, Sendable, Codable {
    /// We make it, and we serve it.
    case own
    /// Somebody else has made it, and we serve it: it is not ours to remove, nor to export.
    case served
    /// We make it, and another process of the host serves it, one that knows its subtype.
    case foreign
  }

  /// The number of its HBA: N of `core/user_N`.
  public var hba: UInt32
  /// Its name in the HBA's directory.
  public var name: String
  /// What its attribute `dev_config` says: a subtype, a slash, and what that subtype makes of the rest.
  public var configuration: String
  /// Who makes it and who serves it.
  public var role: Role

  /// Makes a spec; the parameters are those of the properties.
  public init(hba: UInt32, name: String, configuration: String, role: Role) {
    self.hba = hba
    self.name = name
    self.configuration = configuration
    self.role = role
  }

  /// The token before the configuration's first slash.
  public var subtype: String { BackstoreConfiguration(configuration).subtype }

  /// What stands behind the configuration's first slash.
  public var detail: String { BackstoreConfiguration(configuration).detail ?? "" }

  /// The path of an overlaybd image's configuration: only the snapshot interface has a use for what follows the
  /// semicolon.
  public var overlaybdPath: String { BackstoreConfiguration.cut(detail, at: UInt8(ascii: ";")).before }

  /// Whether the configuration ends with an ID behind a semicolon.
  var endsWithID: Bool { BackstoreConfiguration.cut(detail, at: UInt8(ascii: ";")).behind != nil }

  /// The subtypes that this engine serves by itself.
  public enum Subtype: String, Sendable, CaseIterable {
    /// `overlaybd/PATH[;ID]`: an overlaybd image by its configuration, as overlaybd's own daemon takes it.
    case overlaybd
    /// `file/PATH`: a file, as tcmu-runner's handler takes it.
    case file
    /// `ashlar/IMAGE`: an image as `ashlar attach` takes it; `ashlar/ID` for what `ashlar attach` has made.
    case ashlar
    /// `null/`: reads zeros and forgets what is written: the limit of the interface, for measuring.
    case null
  }
}
