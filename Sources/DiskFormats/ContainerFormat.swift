import BlockCore

/// A file format that has a disk inside: every such file can be read as a raw image, and none is one.
///
/// Recognised by its magic, of whatever version; nothing more of the file is looked at.
public enum ContainerFormat: String, Sendable, CaseIterable {
  /// qcow, the first version of QEMU's.
  case qcow = "a qcow image"
  /// qcow2, and every later one.
  case qcow2 = "a qcow2 image"
  /// VMware's: sparse extents of each kind, and the text that describes them.
  case vmdk = "a VMDK image"
  /// Hyper-V's of today.
  case vhdx = "a VHDX image"
  /// Virtual PC's, fixed or dynamic.
  case vhd = "a VHD image"
  /// VirtualBox's.
  case vdi = "a VDI image"
  /// QEMU's enhanced disk.
  case qed = "a QED image"
  /// Parallels'.
  case parallels = "a Parallels image"
  /// Bochs'.
  case bochs = "a Bochs image"
  /// Apple's.
  case dmg = "a DMG image"
  /// An encrypted disk, LUKS1 or LUKS2.
  case luks = "a LUKS-encrypted disk"
  /// A layer of overlaybd's, uncompressed.
  case overlaybd = "an overlaybd layer"
  /// A compressed file of overlaybd's.
  case zfile = "a ZFile, as overlaybd layers are compressed"

  /// How one says that a file's own bytes are meant, where a path names it.
  public static let rawBytesOption = "say --raw-bytes, or over HTTP \"rawBytes\": true"

  private static let beginningByteCount = 512
  private static let footerByteCount = 512

  /// The format of a source's bytes; `nil` if it is none of these.
  ///
  /// - Parameters:
  ///   - source: A file or a block device.
  ///   - workspace: The calling thread's own.
  /// - Throws: What reading throws.
  public static func of(
    _ source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> ContainerFormat? {
    let count = Int(min(source.byteCount, UInt64(beginningByteCount)))
    let beginning = try await source.bytes(at: 0, byteCount: count, using: workspace)
    if let format = beginningWith(beginning) { return format }
    guard source.byteCount >= UInt64(footerByteCount) else { return nil }
    let end = try await source.bytes(
      at: source.byteCount - UInt64(footerByteCount), byteCount: footerByteCount, using: workspace)
    if end.starts(with: Array("koly".utf8)) { return .dmg }
    // A fixed VHD has nothing but this footer; of the oldest ones it has one byte less.
    let footer = Array("conectix".utf8)
    return end.starts(with: footer) || end.dropFirst().starts(with: footer) ? .vhd : nil
  }

  private static func beginningWith(_ bytes: [UInt8]) -> ContainerFormat? {
    func begins(_ text: String) -> Bool { bytes.starts(with: Array(text.utf8)) }
    if bytes.starts(with: [0x51, 0x46, 0x49, 0xFB]) {
      return bytes.count >= 8 && bytes.span.bytes.bigEndian(4, as: UInt32.self) == 1 ? .qcow : .qcow2
    }
    if begins("KDMV") || begins("COWD") || isVMDKDescriptor(bytes) { return .vmdk }
    // The space-efficient sparse extent of ESX.
    if bytes.starts(with: [0xBE, 0xBA, 0xFE, 0xCA, 0, 0, 0, 0]) { return .vmdk }
    if begins("vhdxfile") { return .vhdx }
    if begins("conectix") { return .vhd }
    if bytes.dropFirst(64).starts(with: [0x7F, 0x10, 0xDA, 0xBE]) { return .vdi }
    if begins("QED\0") { return .qed }
    if begins("WithoutFreeSpace") || begins("WithouFreSpacExt") { return .parallels }
    if begins("Bochs Virtual HD Image") { return .bochs }
    if bytes.starts(with: Array("LUKS".utf8) + [0xBA, 0xBE]) { return .luks }
    if bytes.starts(with: Array("LSMT".utf8) + [0, 1, 2, 0]) { return .overlaybd }
    return begins("ZFile\0\u{1}\0tuji.yyf@Alibaba") ? .zfile : nil
  }

  /// Whether a text is a VMDK's descriptor, which begins with a comment that says so.
  private static func isVMDKDescriptor(_ bytes: [UInt8]) -> Bool {
    let text = bytes.drop { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: " ") }
    let title = Array("# disk descriptorfile".utf8)
    guard text.count >= title.count else { return false }
    return zip(text, title).allSatisfy { byte, wanted in
      byte == wanted || (65...90).contains(byte) && byte + 32 == wanted
    }
  }

  /// How to come by the disk inside.
  private var way: String {
    switch self {
    case .luks: "Unlock it with cryptsetup and name the device that this makes"
    case .overlaybd, .zfile:
      "For the disk of that layer, attach it without raw:, or make a raw file of it: ashlar image extract"
    default: "Convert it first: qemu-img convert -O raw FILE NEW.raw"
    }
  }

  /// Refuses a source that is in one of these formats, where a disk's own bytes are meant.
  ///
  /// - Parameters:
  ///   - source: What is to be taken for raw.
  ///   - step: What the error calls the step.
  ///   - allowed: Formats that will do.
  ///   - override: How the user says that he means the bytes as they are, as the end of a sentence that begins
  ///     "If you mean the file's own bytes, ".
  /// - Throws: `unsupported`, naming the format; what reading throws.
  public static func refuse(
    _ source: any ByteSource, step: String = "take for a raw image",
    allowing allowed: Set<ContainerFormat> = [],
    override: String
  ) async throws(BlockError) {
    guard let format = try await of(source, using: Workspace()), !allowed.contains(format) else { return }
    throw BlockError(
      .unsupported, step: step, object: source.name, cause: "it is \(format.rawValue)",
      remedy: "\(format.way). If you mean the file's own bytes, \(override).")
  }
}
