import BlockCore
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// The device through which one backstore is served: `/dev/uioN`, open for us alone.
public struct UIODevice: ~Copyable, Sendable {
  /// What sysfs says of a device.
  public struct Entry: Sendable, Hashable {
    /// N of `/dev/uioN`.
    public let number: Int
    /// Its backstore.
    public let backstore: Backstore
    /// The backstore's `dev_config`; may hold slashes.
    public let configuration: String

    /// Makes an entry; the parameters are those of the properties.
    public init(number: Int, backstore: Backstore, configuration: String) {
      self.number = number
      self.backstore = backstore
      self.configuration = configuration
    }

    /// What stands before the configuration's first slash, which says who serves it.
    public var subtype: String { BackstoreConfiguration(configuration).subtype }

    /// Reads the name that the kernel gives a device: `tcm-user/HBA/NAME/CONFIGURATION`.
    ///
    /// - Returns: `nil` if the device is none of TCM-USER's.
    public init?(number: Int, name: String) {
      // Byte by byte: the configuration may begin with any character.
      let parts = name.utf8.split(
        separator: UInt8(ascii: "/"), maxSplits: 3, omittingEmptySubsequences: false
      ).map { String(Substring($0)) }
      guard parts.count >= 3, parts[0] == "tcm-user", let hba = UInt32(parts[1]), !parts[2].isEmpty else {
        return nil
      }
      self.init(
        number: number, backstore: Backstore(hba: hba, name: parts[2]),
        configuration: parts.count > 3 ? parts[3] : "")
    }
  }

  /// What sysfs says of it.
  public let entry: Entry
  /// The ring and the data area.
  let memory: RingMemory
  /// Events come from it, and kicks go to it.
  let descriptor: Descriptor

  /// All devices of TCM-USER that there are now.
  public static func all() -> [Entry] {
    SmallFile.entries("/sys/class/uio").compactMap { name in
      guard name.hasPrefix("uio"), let number = Int(name.dropFirst(3)),
        let text = SmallFile.text("/sys/class/uio/\(name)/name")
      else { return nil }
      return Entry(number: number, name: text)
    }
  }

  /// The device of a backstore; `nil` if it has none: it is not enabled.
  public static func find(_ backstore: Backstore) -> Entry? {
    all().first { $0.backstore == backstore }
  }

  /// Whether some process serves a device now.
  ///
  /// It asks by opening the device for a moment: a server that opens it just then gets `busy`, so ask only when one
  /// should be there already.
  ///
  /// - Throws: `notFound` if the device is gone, others by errno.
  public static func isServed(_ entry: Entry) throws(BlockError) -> Bool {
    do throws(BlockError) {
      _ = try UIODevice(opening: entry)
      return false
    } catch  where error.kind == .busy {
      return true
    }
  }

  /// Makes a device of its parts: for tests, whose kernel is none.
  package init(_ entry: Entry, memory: consuming RingMemory, descriptor: consuming Descriptor) {
    self.entry = entry
    self.memory = memory
    self.descriptor = descriptor
  }

  /// Opens and maps a device; nobody else can until it is closed.
  ///
  /// - Throws: `busy` if another process serves it, others by errno.
  public init(opening entry: Entry) throws(BlockError) {
    let folder = "/sys/class/uio/uio\(entry.number)"
    let path = Self.path(entry.number)
    guard let size = SmallFile.text("\(folder)/maps/map0/size").flatMap(Self.size),
      let numbers = SmallFile.text("\(folder)/dev").flatMap({ DeviceNumbers($0) })
    else {
      throw BlockError(
        .notFound, step: "open", object: path, cause: "the kernel has no such device any more")
    }
    let descriptor = try Self.open(path, numbers, entry.backstore)
    let memory = try RingMemory(mapping: descriptor, byteCount: size, name: path)
    self.init(entry, memory: memory, descriptor: descriptor)
  }

  /// Reads a size as sysfs writes it: `0x40800000`.
  package static func size(_ text: String) -> Int? {
    text.hasPrefix("0x") ? Int(text.dropFirst(2), radix: 16) : Int(text)
  }

  /// Opens the node, or one of our own if `/dev` does not have it, as in a container.
  private static func open(
    _ path: String, _ numbers: DeviceNumbers, _ backstore: Backstore
  ) throws(BlockError) -> Descriptor {
    let device = clinux_makedev(numbers.major, numbers.minor)
    var status = stat()
    let isThere = stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == device
    let node = isThere ? path : "/dev/.ashlar-uio-\(getpid())-\(numbers.minor)"
    if !isThere {
      unlink(node)
      guard mknod(node, S_IFCHR | 0o600, device) == 0 else {
        throw BlockError(
          errno: Errno(rawValue: errno), step: "make a node for", object: path,
          remedy: "Make it: mknod \(path) c \(numbers.major) \(numbers.minor).")
      }
    }
    defer { if !isThere { unlink(node) } }
    do {
      return try .open(node, O_RDWR | O_NONBLOCK)
    } catch  where error.errno == .resourceBusy {
      throw BlockError(
        .busy, step: "open", object: path, cause: "another process serves backstore \(backstore)",
        remedy:
          "Find it with: fuser \(path). End it, or give the backstore a subtype that it does not serve.",
        errno: error.errno)
    }
  }

  /// The usual path of its node; there may be none.
  static func path(_ number: Int) -> String { "/dev/uio\(number)" }
}
