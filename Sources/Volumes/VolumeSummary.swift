import BlockCore
import DiskFormats
import Hashing

/// A volume in words and numbers: what `ashlar volume` and the HTTP interface print.
public struct VolumeSummary: Sendable, Hashable, Codable {
  /// The mapped device's name; `nil` for a volume by itself.
  public var name: String?
  /// The mapped device's path.
  public var device: String?
  /// The volume's device.
  public var volume: String
  /// `none`, `incomplete`, `written`, `complete`, `changed`, `unconfirmed` or `unsupported`.
  public var state: String
  /// The image's SHA-256, in hexadecimal.
  public var sha256: String?
  /// `sector` or `aligned`; `nil` if there is no content.
  public var layout: String?
  /// The size of the mapped device, or of the volume, in bytes.
  public var size: UInt64
  /// Whether this engine has mapped it; `nil` for a volume by itself.
  public var ours: Bool?
  /// Whether the image was there already when it was to be written; `nil` if that was not asked.
  public var wasThere: Bool?
  /// Whether it was kept when that image was to be written, although its content is another one; `nil` as above.
  public var kept: Bool?
  /// How far it is, if it is being formatted.
  public var work: Work?

  /// A formatting that is going on.
  public struct Work: Sendable, Hashable, Codable {
    /// Bytes done.
    public var done: UInt64
    /// Bytes there are to do.
    public var total: UInt64

    /// Makes a description; the parameters are those of the properties.
    public init(done: UInt64, total: UInt64) {
      self.done = done
      self.total = total
    }
  }

  /// Describes a volume by itself.
  ///
  /// - Parameters:
  ///   - volume: The volume.
  ///   - readsContent: Whether all of it is read, to say if it is as it was written.
  /// - Throws: What reading it throws.
  public init(_ volume: HeaderVolume, readsContent: Bool) async throws(BlockError) {
    self.volume = volume.path
    size = volume.byteCount
    if readsContent {
      let (content, state) = try await volume.examine()
      (self.state, sha256, layout) = Self.words(for: content, state)
    } else {
      let content = try await volume.content()
      (state, sha256, layout) = Self.words(for: content, content.state)
    }
  }

  /// Describes a volume that has just been formatted.
  public init(_ volume: HeaderVolume, _ result: HeaderVolume.FormatResult) {
    self.volume = volume.path
    size = volume.byteCount
    state = result.outcome == .kept ? "changed" : "complete"
    sha256 = result.image.description
    layout = "\(result.layout)"
    wasThere = result.wasThere
    kept = result.outcome == .kept
  }

  /// Describes a mapped volume.
  public init(_ mapped: MappedVolume) {
    name = mapped.name
    device = mapped.path
    volume = mapped.volume
    size = mapped.byteCount
    ours = mapped.isOurs
    (state, sha256, layout) = Self.words(for: mapped.content, mapped.state)
  }

  private static func words(
    for content: HeaderVolume.Content, _ state: HeaderVolume.Content.State
  ) -> (String, String?, String?) {
    let layout = "\(content.layout)"
    return switch state {
    case .none: ("none", nil, nil)
    case .unsupportedVersion: ("unsupported", nil, nil)
    case .incomplete(let image): ("incomplete", image.description, nil)
    case .written(let image): ("written", image.description, layout)
    case .complete(let image): ("complete", image.description, layout)
    case .changed(let image): ("changed", image.description, layout)
    case .unconfirmed(let image): ("unconfirmed", image.description, layout)
    }
  }

  /// Reads the options of a formatting as a user writes them.
  ///
  /// - Throws: `invalidArgument` for a layout or digest that is none.
  public static func options(
    layout: String?, sha256: String?, isForced: Bool, takesContainers: Bool
  ) throws(BlockError) -> HeaderVolume.FormatOptions {
    var options = HeaderVolume.FormatOptions(isForced: isForced, takesContainers: takesContainers)
    if let layout {
      options.layout = VolumeRecord.Layout.allCases.first { "\($0)" == layout }
      guard options.layout != nil else {
        throw BlockError(
          .invalidArgument, step: "use the layout", object: layout, cause: "there is none of that name",
          remedy: "Known are \(VolumeRecord.Layout.allCases.map { "\($0)" }.joined(separator: ", ")).")
      }
    }
    if let sha256 {
      options.expected = Digest256(sha256)
      guard options.expected != nil else {
        throw BlockError(
          .invalidArgument, step: "use the digest", object: sha256,
          cause: "a SHA-256 has 64 hexadecimal digits")
      }
    }
    return options
  }
}
