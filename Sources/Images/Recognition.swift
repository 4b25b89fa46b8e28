import BlockCore
import DiskFormats
import OverlayBD

/// Telling what a file is from its first bytes.
enum Recognition {
  /// What a reference turned out to be.
  enum Outcome {
    case raw
    /// An image configuration, with its text.
    case config([UInt8])
    case layer
  }

  /// The image configuration that a reference leads to, as text; `nil` if it leads to another image.
  private static func configuration(
    at reference: ImageReference, _ file: any BlockFile, _ files: any FileSystem
  ) async throws(BlockError) -> [UInt8]? {
    let beginning = try await file.bytes(at: 0, byteCount: Int(min(file.byteCount, 512)), using: Workspace())
    let firstCharacter = beginning.first { !" \t\r\n".utf8.contains($0) }
    guard firstCharacter == UInt8(ascii: "{") || reference.path.hasSuffix(".json") else { return nil }
    let text = try await files.contents(of: reference.path, limit: Limits.imageConfigBytes)
    try ImageConfig.checkText(text, path: reference.path)
    return text
  }

  static func identity(
    of reference: ImageReference, _ files: any FileSystem
  ) async throws(BlockError) -> (path: String, configuration: String?) {
    let path = try files.resolve(reference.path)
    let file = try await files.open(path, for: .readOnly)
    if reference.scheme?.isRaw == true { return (path, nil) }
    let resolved = ImageReference(reference.scheme, path, relativeTo: "/")
    let text = try await configuration(at: resolved, file, files)
    return (path, text.map { String(decoding: $0, as: UTF8.self) })
  }

  static func format(
    of reference: ImageReference, _ services: HostServices
  ) async throws(BlockError) -> Outcome {
    if reference.scheme?.isRaw == true { return .raw }
    let file = try await services.files.open(reference.path, for: .readOnly)
    if let text = try await configuration(at: reference, file, services.files) { return .config(text) }
    if reference.scheme == .overlaybd { return .layer }
    if try await LayerOpener.looksLikeLayer(file, using: Workspace()) { return .layer }
    if try await TarEnvelope.openIfPresent(file, using: Workspace()) != nil {
      throw TarEnvelope.anotherKind(reference.path, "what is in it is no overlaybd layer")
    }
    try await ContainerFormat.refuse(file, step: "open", override: "write raw-bytes:\(reference.path)")
    throw BlockError(
      .unsupported, step: "recognise the format of", object: reference.path,
      cause: "it is neither an image configuration nor an overlaybd layer, and raw is never guessed",
      remedy: "If its bytes are a disk's, write raw:\(reference.path).")
  }
}

extension ImageReference {
  /// What one request to attach an image has to have in common with another: the file behind all links,
  /// and what an image configuration says.
  ///
  /// - Throws: By errno if the file cannot be opened.
  public func identity(
    in files: any FileSystem
  ) async throws(BlockError) -> (path: String, configuration: String?) {
    try await Recognition.identity(of: self, files)
  }

  /// Refuses a file in another disk format by a reference that takes a file for a raw image, unless it says that its
  /// bytes are meant.
  ///
  /// - Throws: `unsupported` with the format's name; what opening and reading throw.
  public func checkIsNoContainer(in files: any FileSystem) async throws(BlockError) {
    guard scheme == .raw else { return }
    try await checkIsNoContainer(try await files.open(path, for: .readOnly))
  }

  /// The same for the file of a backstore `file/PATH` that somebody else has made.
  ///
  /// A LUKS header passes: it is what an initiator writes to its own disk, and the backstore is made anew at every boot,
  /// when nobody knows any more what was decided at first.
  public static func checkBackstoreFile(_ file: any BlockFile) async throws(BlockError) {
    try await ContainerFormat.refuse(
      file, allowing: [.luks], override: "make the backstore with ashlar/raw-bytes:\(file.name)")
  }

  func checkIsNoContainer(
    _ file: any BlockFile, allowing allowed: Set<ContainerFormat> = []
  ) async throws(BlockError) {
    guard scheme == .raw else { return }
    try await ContainerFormat.refuse(file, allowing: allowed, override: "write raw-bytes:\(path)")
  }
}
