import Attachments
import BlockCore
import LinuxIO
import SystemPackage
import TransportTCMU

/// A TCM-USER backstore, and the loopback target that makes a disk of it.
///
/// The backstore's unit serial number tells whether it is this attachment's: somebody else may have made one of the
/// same name.
struct BackstoreObjects: KernelObjects {
  private let id: AttachmentID
  private let image: AttachmentSpec
  private let spec: BackstoreSpec
  private let exportName: String

  /// Seconds that commands are given: for ever, as far as the kernel can count it in milliseconds.
  ///
  /// A storage that is slow, or a data server that is being replaced, is to be waited for.
  private static let commandTimeout = 2_147_483
  /// MiB for the data of commands under way: what overlaybd's attacher gives, and what other images get.
  private static let overlaybdDataArea = 4
  private static let dataArea = 64
  /// MiB of the command ring.
  ///
  /// The entries of 1024 commands, as many as a loopback disk sends at most, with all the
  /// pieces that the data area can be in, take 0.4: the kernel's own 8 would be most of a device's memory.
  private static let commandRing = 1
  /// For the kernel to take something apart: a file system may have much to write.
  ///
  /// Whoever waits for it has a deadline of his own.
  private static let removalDeadline = Duration.seconds(3600)

  init(id: AttachmentID, _ image: AttachmentSpec, _ backstore: BackstoreSpec, exportName: String) {
    self.id = id
    self.image = image
    spec = backstore
    self.exportName = exportName
  }

  private var backstore: Backstore { Backstore(hba: spec.hba, name: spec.name) }

  /// What the serial numbers of the backstores that an engine makes begin with.
  static let serialPrefix = "ashlar-"

  /// Unique to one attachment: the random part of its name, which no other has.
  private var serial: String { "\(Self.serialPrefix)\(exportName.split(separator: "-").last ?? "")" }

  var hasServer: Bool { spec.role != .foreign }

  var outlivesServer: Bool { true }

  var isPresent: Bool {
    FailedReads.mayBe {
      spec.role == .served ? UIODevice.find(backstore)?.configuration == spec.configuration : isOurs
    }
  }

  var awaitsAnswers: Bool {
    spec.role == .own && FailedReads.mayBe { isOurs && (backstore.status?.isExported ?? false) }
  }

  /// Whether the backstore of this name is the one that this attachment has made, or has begun to make.
  private var isOurs: Bool {
    guard spec.role != .served, let status = backstore.status else { return false }
    if status.serial == serial { return true }
    let isBegun = status.configuration.isEmpty || status.configuration == spec.configuration
    return status.serial.isEmpty && !status.isEnabled && isBegun
  }

  func prepare() async throws(BlockError) {
    guard spec.role != .served else { return }
    try await Blocking.run("drivers") { () throws(BlockError) in try TargetConfiguration.prepare() }
    var options = Backstore.Options(configuration: spec.configuration, byteCount: 0)
    let isOverlayBD = image.configuration != nil || image.scheme == BackstoreSpec.Subtype.overlaybd.rawValue
    options.dataAreaMebibytes = isOverlayBD ? Self.overlaybdDataArea : Self.dataArea
    if spec.role == .own { options.commandRingMebibytes = Self.commandRing }
    options.commandTimeout = Self.commandTimeout
    options.serial = serial
    options.waitsForAnswers = spec.role == .foreign
    AttachCourse.note(
      "making backstore \(backstore): dev_config=\(options.configuration), "
        + "max_data_area_mb=\(options.dataAreaMebibytes ?? 0), cmd_time_out=\(Self.commandTimeout)")
    do throws(BlockError) {
      try await backstore.create(options)
      AttachCourse.note("the backstore is enabled")
    } catch {
      throw explained(error)
    }
  }

  /// Why another process could not open an image, it writes into a file.
  private func explained(_ error: BlockError) -> BlockError {
    guard spec.role == .foreign, let said = SmallFile.text(resultFile, limit: Limits.resultFileBytes),
      !said.isEmpty
    else { return error }
    return BlockError(
      error.kind, step: error.step, object: error.object,
      cause: "\(error.cause); \(resultFile) says: \(said)",
      remedy: error.remedy, errno: error.errno)
  }

  /// Where the image's configuration says that the outcome is written; a relative path counts from its directory.
  private var resultFile: String {
    struct Fragment: Decodable { var resultFile: String? }
    // One that cannot be read names none.
    let fragment = try? decodeMessage(Fragment.self, Array((image.configuration ?? "").utf8))
    let name = fragment?.resultFile.flatMap { $0.isEmpty ? nil : $0 } ?? "init-debug.log"
    return FilePath(image.path).removingLastComponent().pushing(FilePath(name)).string
  }

  func makeDevice(_ status: ServerStatus) async throws(BlockError) -> String? {
    guard spec.role != .served else { return nil }
    let target = try target()
    AttachCourse.note("exporting it as LUN 0 of loopback target \(target.name)")
    let disk = try await target.export(backstore, commandTimeout: Self.commandTimeout).path
    AttachCourse.note("the disk is \(disk), whose commands have \(Self.commandTimeout) s")
    return disk
  }

  private func target() throws(BlockError) -> LoopbackTarget { try DeviceNames(id: id.text).target }

  func owns(_ device: String) -> Bool {
    guard let target = try? target() else { return false }
    // The LUN's own directory is locked while the kernel takes the disk away, so it is not looked into here.
    return FailedReads.mayBe { isOurs && target.disk?.path == device }
  }

  func remove() async throws(BlockError) {
    let (isOurs, failed) = FailedReads.during { self.isOurs }
    if let failed { throw failed }
    guard isOurs else { return }
    // One that exports something else stands for another ID.
    try await target().remove(backstore, deadline: Self.removalDeadline)
    try await backstore.remove(deadline: Self.removalDeadline)
  }

  func abort() throws(BlockError) {}
}
