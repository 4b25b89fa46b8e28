import Attachments
import BlockCore
import Images

extension AttachmentSpec {
  /// The file or device that its image is written to; `nil` if it is not, or nobody but its handler knows.
  var writtenPath: String? {
    if isReadOnly { return nil }
    guard let backstore, backstore.role == .served else { return path }
    switch BackstoreSpec.Subtype(rawValue: backstore.subtype) {
    case .null, .overlaybd: return nil
    // What is not an image reference is not opened either.
    case .ashlar: return try? ImageReference(backstore.detail, relativeTo: "/").path
    case .file, nil: return ImageReference(nil, backstore.detail, relativeTo: "/").path
    }
  }
}
