import BlockCore
import OverlayBD

extension Image {
  /// What an image is: what `ashlar image info` prints.
  public struct Description: Sendable, Hashable, Codable {
    /// One layer.
    public struct LayerDescription: Sendable, Hashable, Codable {
      /// The file.
      public var path: String
      /// Its length in bytes.
      public var fileSize: UInt64
      /// What is wrapped around the layer, from the outside in: `tar`, `zfile`.
      public var wrapping: [String]
      /// How it is compressed: `lz4` or `zstd`.
      public var compression: String?
      /// Bytes of content in a compressed block.
      public var blockSize: Int?
      /// Whether each compressed block has a checksum.
      public var blockChecksums: Bool?
      /// The length of the layer in bytes when decompressed.
      public var layerSize: UInt64
      /// The layer's length by the compressed file's.
      public var compressionRatio: Double?
      /// What kind of layer it is.
      public var form: String
      /// The size in bytes that it gives the disk; 0 to inherit it.
      public var virtualSize: UInt64
      /// How many extents it has.
      public var extents: Int
      /// How many of them read as zeros.
      public var zeroedExtents: Int
      /// Bytes of the disk that it covers with data.
      public var dataBytes: UInt64
      /// Bytes of the disk that it covers with zeros.
      public var zeroedBytes: UInt64
      /// Its UUID.
      public var uuid: String
      /// The UUID of the layer beneath.
      public var parentUUID: String
      /// Its commit message.
      public var userTag: String
      /// The tar that it points into, for a TurboOCI layer.
      public var target: String?
    }

    /// The image, as a user may write it.
    public var image: String
    /// Its format: `overlaybd` or `raw`.
    public var format: String
    /// The size of the disk in bytes.
    public var virtualSize: UInt64
    /// Whether the parent UUIDs name the layers beneath; `nil` where they name nothing.
    public var uuidChain: Bool?
    /// How many segments the layers have when merged.
    public var segments: Int
    /// The layers from the bottom up.
    public var layers: [LayerDescription]
    /// Things that a user should know.
    public var notices: [String]
  }

  /// What the image is.
  public var summary: Description {
    Description(
      image: "\(reference)", format: format.rawValue, virtualSize: volume.geometry.byteCount,
      uuidChain: uuidChain, segments: segmentCount, layers: layers.map(\.summary), notices: notices)
  }

  private static let nullUUID = "00000000-0000-0000-0000-000000000000"

  /// Whether each layer that names a parent names the layer beneath it; `nil` if none names one.
  private var uuidChain: Bool? {
    var isNamed = false
    for (upper, lower) in zip(layers.dropFirst(), layers) {
      let parent = upper.layer.header.parentUUID
      guard !parent.isEmpty, parent != Self.nullUUID else { continue }
      isNamed = true
      if parent.uppercased() != lower.layer.header.uuid.uppercased() { return false }
    }
    return isNamed ? true : nil
  }
}

extension Image.OpenedLayer {
  /// What the layer is.
  var summary: Image.Description.LayerDescription {
    let sector = VolumeGeometry.sectorSize
    let zeroed = layer.segments.lazy.filter(\.isZeroed)
    let data = layer.segments.lazy.filter { !$0.isZeroed }
    let layerSize = zfile?.byteCount ?? tar?.payload.byteCount ?? fileByteCount
    return Image.Description.LayerDescription(
      path: path, fileSize: fileByteCount,
      wrapping: (tar == nil ? [] : ["tar"]) + (zfile == nil ? [] : ["zfile"]),
      compression: zfile.map { "\($0.codec)" }, blockSize: zfile?.blockSize,
      blockChecksums: zfile?.hasBlockChecksums, layerSize: layerSize,
      compressionRatio: zfile.map { Double($0.byteCount) / Double(max($0.compressedByteCount, 1)) },
      form: layer.form.rawValue, virtualSize: layer.virtualSize, extents: layer.segments.count,
      zeroedExtents: zeroed.count, dataBytes: data.reduce(0) { $0 + $1.length * sector },
      zeroedBytes: zeroed.reduce(0) { $0 + $1.length * sector }, uuid: layer.header.uuid,
      parentUUID: layer.header.parentUUID, userTag: layer.header.userTag, target: targetPath)
  }
}
