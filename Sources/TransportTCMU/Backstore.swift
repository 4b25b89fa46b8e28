import BlockCore
import Glibc
import LinuxIO
import SystemPackage

/// A backstore in configfs: `core/user_HBA/NAME`.
///
/// The value is only its name; whether the kernel has it, ``status()`` says.
public struct Backstore: Sendable, Hashable, Codable, CustomStringConvertible {
  /// The number of the host bus adapter: of the directory that it is in.
  public let hba: UInt32
  /// Its name.
  public let name: String

  /// Names a backstore.
  public init(hba: UInt32, name: String) {
    self.hba = hba
    self.name = name
  }

  public var description: String { "user_\(hba)/\(name)" }

  /// Its directory in configfs.
  public var path: String { "\(hbaPath)/\(name)" }

  var hbaPath: String { "\(TargetConfiguration.root)/core/user_\(hba)" }

  /// Everything that it is made with.
  public struct Options: Sendable {
    /// `SUBTYPE/…`: who serves it, and what; 1 to 255 bytes.
    public var configuration: String
    /// Bytes of the disk: a multiple of ``blockSize``.
    public var byteCount: UInt64
    /// Bytes in a block: 512 or 4096.
    public var blockSize = 512
    /// Sectors in one command, at most; the kernel's 128 is far too few.
    public var maximumSectors = 2048
    /// MiB of data of all commands that are served at one time; `nil` for the kernel's own, 1024.
    public var dataAreaMebibytes: Int?
    /// Pages of 4 KiB that the data area is given out in, at a time; `nil` for the kernel's own, 1.
    ///
    /// More keep a command's data together.
    public var pagesPerDataBlock: Int?
    /// MiB of the command ring, 1 to 8; `nil` for the kernel's own, 8.
    ///
    /// It is the kernel's memory, all of it from the beginning. Kernels before 5.18 know only their own.
    public var commandRingMebibytes: Int?
    /// Whether the kernel waits for a server's answers over netlink: true for a backstore that somebody else
    /// serves, false for one that the maker serves himself.
    public var waitsForAnswers = false
    /// Seconds until the kernel gives a command up; 0 for never.
    public var commandTimeout: Int?
    /// The unit serial number; `nil` for none.
    public var serial: String?

    /// The usual ones.
    public init(configuration: String, byteCount: UInt64) {
      self.configuration = configuration
      self.byteCount = byteCount
    }
  }

  /// What the kernel says of a backstore.
  public struct Status: Sendable, Hashable {
    /// `SUBTYPE/…`.
    public var configuration: String
    /// Bytes of the disk.
    public var byteCount: UInt64
    /// Bytes in a block.
    public var blockSize: Int
    /// Sectors in one command, at most.
    public var maximumSectors: Int
    /// Whether it has a device.
    public var isEnabled: Bool
    /// Whether a LUN exports it.
    public var isExported: Bool
    /// The unit serial number; empty if none is set.
    public var serial: String
  }
}
