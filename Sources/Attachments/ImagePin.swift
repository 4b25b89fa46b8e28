import BlockCore

/// What is served: every file that was opened for it, by what it was and not by its path alone, and what they hold.
///
/// A data server makes it of what it has open, the manager writes it down, and whoever opens the image anew holds what it
/// finds against it: under a mounted file system never another disk may appear. It is read by other releases: what they
/// do not know they ignore, and what is added is optional.
public struct ImagePin: Sendable, Hashable, Codable {
  /// What a file is opened for, and so in what it must be the same.
  public struct Role: RawRepresentable, Sendable, Hashable, Codable {
    /// The name in JSON.
    public let rawValue: String

    /// A role by its name; one that is not known is held to be that of a file that is only read.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// An image configuration: its content must be the same; the file may be another one.
    public static let configuration = Role(rawValue: "configuration")
    /// A layer, or another file that is part of an image and only read: the same in everything.
    public static let constant = Role(rawValue: "constant")
    /// A raw disk that is only read, and that somebody else may write to: the same file, and not shorter.
    public static let shared = Role(rawValue: "shared")
    /// A file that is written to: the same file, and not shorter, for its time changes, and it may have grown.
    public static let writable = Role(rawValue: "writable")
  }

  /// A file.
  public struct File: Sendable, Hashable, Codable {
    /// The path that it was opened by.
    public var path: String
    /// What for.
    public var role: Role
    /// What it was.
    public var state: FileState
    /// The SHA-256 of a configuration's content, in hexadecimal.
    public var sha256: String?

    /// Makes a description; the parameters are those of the properties.
    public init(path: String, role: Role, state: FileState, sha256: String? = nil) {
      self.path = path
      self.role = role
      self.state = state
      self.sha256 = sha256
    }

    /// In what a file that was opened by the path is another one, in words; `nil` if it is this one.
    public func difference(to found: FileState, sha256 digest: String?) -> String? {
      if role == .configuration {
        guard let digest, let sha256, digest != sha256 else { return nil }
        return "its content is sha256:\(digest) instead of sha256:\(sha256)"
      }
      return found.difference(from: state, isWritable: role == .writable || role == .shared)
    }
  }

  /// A layer of an overlaybd image.
  public struct Layer: Sendable, Hashable, Codable {
    /// The file.
    public var path: String
    /// The UUID in its header.
    public var uuid: String
    /// The UUID of the layer beneath, as its header has it.
    public var parentUUID: String
    /// The size in bytes that it gives the disk; 0 to inherit it.
    public var byteCount: UInt64

    /// Makes a description; the parameters are those of the properties.
    public init(path: String, uuid: String, parentUUID: String, byteCount: UInt64) {
      self.path = path
      self.uuid = uuid
      self.parentUUID = parentUUID
      self.byteCount = byteCount
    }
  }

  /// The disk as a whole: all that there is to hold a handler's against.
  public struct Disk: Sendable, Hashable, Codable {
    /// Its size in bytes.
    public var byteCount: UInt64
    /// Whether writes are refused.
    public var isReadOnly: Bool

    /// Makes a description; the parameters are those of the properties.
    public init(byteCount: UInt64, isReadOnly: Bool) {
      self.byteCount = byteCount
      self.isReadOnly = isReadOnly
    }
  }

  /// The version that this release writes.
  ///
  /// It goes up when other files are noted for the same image: then a file that is noted in one pin and not in the other
  /// says nothing.
  public static let currentVersion = 1
  /// The version of one that was made of what a process of an earlier release has open: its paths may be other names of
  /// the files, and neither configurations nor layers are noted.
  public static let observedVersion = 0

  /// The version that it was written in.
  public var version: Int
  /// The files, in the order of their paths.
  public var files: [File]
  /// The layers from the bottom up.
  public var layers: [Layer]
  /// The disk.
  public var disk: Disk

  /// Makes a pin of this release's version; the parameters are those of the properties.
  public init(files: [File], layers: [Layer], disk: Disk) {
    version = Self.currentVersion
    self.files = files
    self.layers = layers
    self.disk = disk
  }

  /// The file that was opened by a path.
  public func file(_ path: String) -> File? {
    files.first { $0.path.utf8.elementsEqual(path.utf8) }
  }

  /// Holds what was opened anew against what was served; the files' states were compared as they were opened.
  ///
  /// - Throws: `conflict` with the file and what differs.
  public func check(_ found: ImagePin) throws(BlockError) {
    if version == Self.observedVersion { return try checkObserved(found) }
    if found.version == version {
      for file in files where found.file(file.path) == nil {
        throw Self.changed(file.path, "it was served, and is not opened any more")
      }
    }
    guard found.layers.count == layers.count else {
      throw Self.changed(
        found.layers.first?.path ?? layers.first?.path ?? "the image",
        "the image has \(found.layers.count) layers instead of \(layers.count)")
    }
    for (found, layer) in zip(found.layers, layers) {
      if found.uuid != layer.uuid {
        throw Self.changed(found.path, "UUID \(found.uuid) instead of \(layer.uuid)")
      }
      if found.parentUUID != layer.parentUUID {
        throw Self.changed(found.path, "parent UUID \(found.parentUUID) instead of \(layer.parentUUID)")
      }
      if found.byteCount != layer.byteCount {
        throw Self.changed(found.path, "a disk of \(found.byteCount) bytes instead of \(layer.byteCount)")
      }
    }
    try checkDisk(found)
  }

  /// The same where only the files themselves are known.
  private func checkObserved(_ found: ImagePin) throws(BlockError) {
    for file in found.files where file.role != .configuration {
      guard files.contains(where: { $0.difference(to: file.state, sha256: nil) == nil }) else {
        throw Self.changed(
          file.path, "inode \(file.state.inode) is none of the files that its data server had open")
      }
    }
    try checkDisk(found)
  }

  private func checkDisk(_ found: ImagePin) throws(BlockError) {
    let mayGrow = !disk.isReadOnly || files.contains { $0.role == .shared }
    guard mayGrow ? found.disk.byteCount >= disk.byteCount : found.disk.byteCount == disk.byteCount else {
      throw Self.changed(
        files.first?.path ?? "the image",
        "the disk has \(found.disk.byteCount) bytes instead of \(disk.byteCount)")
    }
  }

  /// The error for a file that is not the one that was served.
  public static func changed(_ path: String, _ difference: String) -> BlockError {
    BlockError(
      .conflict, step: "serve again", object: path, cause: "it is not what was served: \(difference)",
      remedy: "Put back what was there.")
  }
}
