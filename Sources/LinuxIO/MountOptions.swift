import BlockCore
import CLinux
import Glibc

/// The options of a mount as a user writes them, taken as mount(8) takes them.
struct MountOptions: Sendable, Hashable {
  /// An option of the file system: a word, or a key with a value.
  struct Option: Sendable, Hashable {
    let key: String
    let value: String?
  }

  /// Whether it is to be read-only; `nil` if nothing is said of that.
  private(set) var isReadOnly: Bool?
  /// What holds for the mount and not for the file system: `MOUNT_ATTR_NOSUID` and its like.
  private(set) var attributes: UInt32 = 0
  /// What is left for the file system, in order.
  private(set) var fileSystem: [Option] = []

  /// What each word sets and clears of the mount's attributes.
  private static let attributeWords: [String: (set: Int32, cleared: Int32)] = [
    "nosuid": (MOUNT_ATTR_NOSUID, 0), "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0), "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0), "exec": (0, MOUNT_ATTR_NOEXEC),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME), "atime": (0, MOUNT_ATTR__ATIME),
    "relatime": (0, MOUNT_ATTR__ATIME), "norelatime": (0, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME), "nostrictatime": (0, MOUNT_ATTR__ATIME),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    // Who may mount it says nothing here; what comes with that does.
    "user": (ownersAttributes | MOUNT_ATTR_NOEXEC, 0), "users": (ownersAttributes | MOUNT_ATTR_NOEXEC, 0),
    "owner": (ownersAttributes, 0), "group": (ownersAttributes, 0),
  ]
  private static let ownersAttributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV

  /// What is for others who read a table of mounts.
  private static let ignored: Set<String> = [
    "defaults", "auto", "noauto", "nofail", "_netdev", "nouser", "noowner", "nogroup", "silent", "loud",
  ]
  /// What is no mount of a device, or what the device has been made by already.
  private static let foreign: Set<String> = [
    "bind", "rbind", "move", "remount", "shared", "rshared", "private", "rprivate", "slave", "rslave",
    "unbindable", "runbindable", "loop", "offset", "sizelimit",
  ]

  /// Reads options with commas between them; a value with a comma stands in quotation marks.
  ///
  /// - Throws: `unsupported` for what only mount(8) does, `invalidArgument` for a word without its closing quotation
  ///   mark.
  init(_ text: String) throws(BlockError) {
    for item in try Self.items(text) where !item.isEmpty {
      let sign = item.firstIndex(of: "=")
      let option = Option(
        key: String(item[..<(sign ?? item.endIndex)]),
        value: sign.map { String(item[item.index(after: $0)...]) })
      try add(option, item)
    }
  }

  private mutating func add(_ option: Option, _ item: String) throws(BlockError) {
    if Self.foreign.contains(option.key) || option.key.hasPrefix("X-mount.") {
      throw BlockError(
        .unsupported, step: "mount with the option", object: item, cause: "ashlar mount does not do that",
        remedy: "Use mount(8) on the device.")
    }
    if option.key.lowercased().hasPrefix("x-") || option.key == "comment" { return }
    guard option.value == nil else { return fileSystem.append(option) }
    switch option.key {
    case "ro": isReadOnly = true
    case "rw": isReadOnly = false
    case let word where Self.ignored.contains(word): return
    case let word:
      guard let change = Self.attributeWords[word] else { return fileSystem.append(option) }
      attributes = attributes & ~UInt32(change.cleared) | UInt32(change.set)
    }
  }

  private static func items(_ text: String) throws(BlockError) -> [String] {
    var items = [""]
    var isQuoted = false
    for character in text {
      switch character {
      case "\"": isQuoted.toggle()
      case "," where !isQuoted: items.append("")
      default: items[items.count - 1].append(character)
      }
    }
    guard !isQuoted else {
      throw BlockError(
        .invalidArgument, step: "read the mount options", object: text,
        cause: "a quotation mark is not closed",
        remedy: "Close it.")
    }
    return items
  }
}
