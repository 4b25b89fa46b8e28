/// The body of a request to write an image to a volume: `POST /v1/volume-content`.
public struct VolumeFormatRequest: Sendable, Hashable, Codable {
  /// The keys of the JSON object.
  package enum CodingKeys: String, CodingKey, CaseIterable {
    case volume, image, sha256, layout, force, rawBytes
  }

  /// The volume: a block device's or file's absolute path.
  public var volume: String
  /// The raw image's absolute path.
  public var image: String
  /// What the image's SHA-256 has to be, in hexadecimal; anything if it is not there.
  public var sha256: String?
  /// `sector` or `aligned`; what fits the disk if it is not there.
  public var layout: String?
  /// Whether data that is no volume's may be overwritten, and an image that is there is written again.
  public var force: Bool?
  /// Whether an image in another disk format will do, whose own bytes are meant; not if it is not there.
  public var rawBytes: Bool?

  /// Makes a request; the parameters are those of the properties.
  public init(
    volume: String, image: String, sha256: String? = nil, layout: String? = nil, force: Bool? = nil,
    rawBytes: Bool? = nil
  ) {
    self.volume = volume
    self.image = image
    self.sha256 = sha256
    self.layout = layout
    self.force = force
    self.rawBytes = rawBytes
  }
}

/// The body of a request to make a device of a volume's content: `POST /v1/volumes`.
public struct VolumeMapRequest: Sendable, Hashable, Codable {
  /// The keys of the JSON object.
  package enum CodingKeys: String, CodingKey, CaseIterable {
    case name, volume, confirmed
  }

  /// What to call the device: `virtlet-dm-…`.
  public var name: String
  /// The volume: a block device's absolute path.
  public var volume: String
  /// Whether a volume that only virtlet's header speaks of is refused; not if it is not there.
  public var confirmed: Bool?

  /// Makes a request; the parameters are those of the properties.
  public init(name: String, volume: String, confirmed: Bool? = nil) {
    self.name = name
    self.volume = volume
    self.confirmed = confirmed
  }
}
