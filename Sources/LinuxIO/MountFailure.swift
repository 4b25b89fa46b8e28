import BlockCore
import Glibc
import SystemPackage

/// Why the kernel did not mount a file system, and what helps.
struct MountFailure {
  /// The step that its errors name.
  static let step = "mount"

  private let error: BlockError
  private let type: String
  private let isReadOnly: Bool
  /// What the kernel has said, in its log and to us.
  private let said: [String]

  init(_ error: BlockError, type: String, isReadOnly: Bool, _ said: [String]) {
    self.error = error
    self.type = type
    self.isReadOnly = isReadOnly
    self.said = said
  }

  /// The error of an option that the file system does not take.
  static func badOption(_ option: MountOptions.Option, _ error: BlockError, _ object: String) -> BlockError {
    let text = option.value.map { "\(option.key)=\($0)" } ?? option.key
    return BlockError(
      error.kind, step: step, object: object, cause: "the option \(text) is not taken: \(error.cause)",
      remedy: "Correct it, or leave it out.", errno: error.errno)
  }

  /// Whether a line of the kernel's log speaks of a device: `EXT4-fs (loop3): …`, `BTRFS error (device loop3): …`.
  static func isAbout(_ device: Substring, _ line: Substring) -> Bool {
    guard !device.isEmpty, let place = line.firstRange(of: device) else { return false }
    let isAlone =
      place.lowerBound == line.startIndex || !Self.isInName(line[line.index(before: place.lowerBound)])
    return isAlone && (place.upperBound == line.endIndex || !Self.isInName(line[place.upperBound]))
  }

  private static func isInName(_ character: Character) -> Bool { character.isLetter || character.isNumber }

  /// The error as it is told.
  func error(_ object: String) -> BlockError {
    BlockError(
      error.kind, step: Self.step, object: object, cause: error.cause, remedy: remedy ?? error.remedy,
      errno: error.errno
    ).explained(byKernel: said)
  }

  /// Whether the kernel has said one of these, in whatever case.
  private func hasSaid(_ words: String...) -> Bool {
    let text = (said + [error.cause]).joined(separator: "\n").lowercased()
    return words.contains { text.contains($0) }
  }

  private var remedy: String? {
    if let special { return special }
    return switch error.errno {
    case .invalidArgument, .badMessage, .ioError, Errno(rawValue: EUCLEAN):
      "The disk may not hold a sound \(type): check it with fsck, or name another type with --fs."
    case .noSuchFileOrDirectory: "Make the directory first."
    case .readOnlyFileSystem, .permissionDenied: "The disk is read-only: mount it with --read-only."
    case .notPermitted: "Run it as root."
    case .resourceBusy: "It is mounted there already, or somebody has it for himself alone."
    default: nil
    }
  }

  /// What helps where the kernel has said what it is, or the file system leaves one reason only.
  private var special: String? {
    if hasSaid("unrecognized mount option", "unknown parameter", "bad option", "bad mount option") {
      return "Correct the option, or leave it out."
    }
    if hasSaid(
      "unsupported optional features", "unsupported features", "incompatible feature", "unknown feature",
      "unknown required", "unsupported option", "unknown incompatible", "unknown read-only compatible",
      "unsupported version")
    {
      return
        "It was made with features that this kernel lacks: use a newer kernel, or make it without them; some "
        + "can be read still: --read-only."
    }
    switch type {
    case "xfs" where hasSaid("duplicate uuid"):
      return "Another file system of its UUID is mounted: mount this one with -o nouuid."
    case "xfs" where error.errno == .readOnlyFileSystem && isReadOnly:
      return
        "Its log is to be replayed, and the disk is read-only: mount it with -o norecovery; what was written last "
        + "is missing then."
    case "ext3", "ext4":
      guard error.errno == .readOnlyFileSystem, isReadOnly else { return nil }
      return
        "Its journal is to be replayed, and the disk is read-only: mount it with -o noload; what was written last "
        + "is missing then."
    case "btrfs" where error.errno == .readOnlyFileSystem && isReadOnly:
      return "Its log is to be replayed, and the disk is read-only: mount it with -o rescue=nologreplay."
    default: return nil
    }
  }
}
