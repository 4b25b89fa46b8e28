import BlockCore
import CLinux
import Glibc
import SystemPackage

/// What loop devices show that are not ours: to ask one is to ask the file system of its file, which may be dead.
extension LoopDevice {
  /// A loop device that is there, with what it shows.
  public struct Shown: Sendable, Hashable {
    /// The device's number: N of `/dev/loopN`.
    public var number: Int
    /// The backing file's path as sysfs has it.
    public var backing: String
    /// What the kernel says of it.
    public var status: Status

    /// The device's path.
    public var path: String { "/dev/loop\(number)" }
  }

  /// What was found of several loop devices.
  public struct Looks: Sendable {
    /// Those that said what they show.
    public fileprivate(set) var shown: [Shown] = []
    /// Those that did not, in words for users.
    public fileprivate(set) var notices: [String] = []
  }

  /// File systems that a program or another host stands behind, and that wait for it, beside FUSE's.
  private static let remoteTypes: Set<String> = [
    "9p", "afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "virtiofs",
  ]

  /// Asks loop devices what they show; those that cannot say it hold up nobody (``BoundedLooks``), and are no error.
  ///
  /// A device is not asked whose file, by its path, is on a network's or a program's file system that none of the wanted
  /// files is on.
  ///
  /// - Parameters:
  ///   - numbers: The devices'.
  ///   - files: The files that are looked for; `nil` for whatever there is.
  public static func looks(at numbers: [Int], for files: Set<FileIdentity>? = nil) -> Looks {
    let mounts = files == nil || numbers.isEmpty ? [] : Mount.all()
    let wanted = Set(
      (files ?? []).map { file in
        DeviceNumbers(
          major: clinux_major(dev_t(file.device)), minor: clinux_minor(dev_t(file.device)))
      })
    let asked = numbers.filter { number in
      guard let backing = BlockDevice.attribute("loop/backing_file", of: "loop\(number)") else {
        return false
      }
      guard let mount = Self.mount(of: backing, in: mounts) else { return true }
      let isRemote = mount.type.hasPrefix("fuse") || remoteTypes.contains(mount.type)
      return !isRemote || wanted.contains(mount.device)
    }
    var looks = Looks()
    for (number, answer) in zip(asked, answers(of: asked)) {
      do throws(BlockError) {
        if let shown = try answer.get() { looks.shown.append(shown) }
      } catch {
        let backing = BlockDevice.attribute("loop/backing_file", of: "loop\(number)") ?? "?"
        looks.notices.append(
          "/dev/loop\(number) (\(backing)) could not be asked what it shows, and is passed over: \(error.cause)"
        )
      }
    }
    return looks
  }

  /// What a loop device shows; `nil` if it shows nothing, or a file that no path leads to, which is what a data server
  /// exports.
  ///
  /// - Throws: `timedOut` if the file system of its file does not answer; others by errno.
  static func shown(by number: Int) throws(BlockError) -> Shown? {
    guard let answer = answers(of: [number]).first else { return nil }
    return try answer.get()
  }

  private static func answers(of numbers: [Int]) -> [Result<Shown?, BlockError>] {
    let answers = BoundedLooks.each(numbers, key: { "/dev/loop\($0)" }) { number in
      do throws(BlockError) {
        return Result<Shown?, BlockError>.success(try ask(number))
      } catch {
        return .failure(error)
      }
    }
    return zip(numbers, answers).map { number, answer in
      answer
        ?? .failure(
          BlockError(
            .timedOut, step: "get the status of", object: "/dev/loop\(number)",
            cause: "the file system of its file does not answer",
            remedy: "See what it shows: losetup -l. Take it apart if nobody needs it."))
    }
  }

  /// Asks one, for as long as it takes.
  private static func ask(_ number: Int) throws(BlockError) -> Shown? {
    guard let backing = BlockDevice.attribute("loop/backing_file", of: "loop\(number)") else { return nil }
    // The file system of a data server that hangs would not answer.
    if isExport(backing) { return nil }
    do throws(BlockError) {
      // For reading: udev takes the close of a writer for a change of the device.
      let node = try openNode(number, O_RDONLY | O_NONBLOCK)
      return try status(of: node, "/dev/loop\(number)").map {
        Shown(number: number, backing: backing, status: $0)
      }
    } catch {
      if [.notFound, .unavailable].contains(error.kind) || error.errno == .noSuchAddressOrDevice {
        return nil
      }
      if error.kind == .permissionDenied, let status = statusByPath(number, backing) {
        return Shown(number: number, backing: backing, status: status)
      }
      throw error
    }
  }

  /// What sysfs and the path say of a device that may not be opened; `nil` if no path leads to its file.
  private static func statusByPath(_ number: Int, _ backing: String) -> Status? {
    var found = stat()
    guard stat(backing, &found) == 0 else { return nil }
    let isDevice = found.st_mode & S_IFMT == S_IFBLK
    func says(_ attribute: String) -> String? { BlockDevice.attribute(attribute, of: "loop\(number)") }
    return Status(
      file: FileIdentity(device: UInt64(found.st_dev), inode: UInt64(found.st_ino)),
      device: isDevice
        ? DeviceNumbers(major: clinux_major(found.st_rdev), minor: clinux_minor(found.st_rdev)) : nil,
      offset: says("loop/offset").flatMap { UInt64($0) } ?? 0, isReadOnly: says("ro") == "1",
      isAutoclear: says("loop/autoclear") == "1", label: "")
  }

  /// Whether a backing file is what a data server of ours exports: in the root of a mount that stands nowhere.
  private static func isExport(_ backing: String) -> Bool {
    guard backing.hasPrefix("/ashlar-"), !backing.dropFirst().contains("/") else { return false }
    return access(backing, F_OK) != 0
  }

  /// The mount that a path leads into, by the table alone: of two at one place the later one covers the other.
  private static func mount(of path: String, in table: [Mount]) -> Mount? {
    var best: Mount?
    for mount in table {
      let place = mount.mountPoint
      guard place == "/" || path == place || path.hasPrefix(place + "/"),
        place.utf8.count >= best?.mountPoint.utf8.count ?? 0
      else { continue }
      best = mount
    }
    return best
  }
}
