import BlockCore
import Glibc
import LinuxIO
import SystemPackage

/// SQLite's log of a database, as far as it tells that something of it was lost (sqlite.org/walformat.html).
///
/// SQLite itself takes the log up to the first frame that is not right, and says nothing of the rest. How far it was
/// written stands in the file of its shared memory, which the end of a process leaves as it was.
package struct JournalLog {
  /// What there is to say of a log.
  package enum Finding: Equatable {
    /// All of it is there, as far as can be seen.
    case sound
    /// It ends with something that is not right, which a process that was killed while it wrote may have left.
    case torn(String)
    /// Something that was committed is lost.
    case cut(String)
  }

  private static let headerBytes = 32
  private static let frameHeaderBytes = 24

  /// Looks at the log of a database that nobody has open.
  package static func check(_ path: String) -> Finding {
    let index = isOfThisBoot(path) ? Index("\(path)-shm") : nil
    guard let log = JournalLog("\(path)-wal") else {
      // Everything that it held may be in the database already.
      guard let index, index.isBehind else { return .sound }
      return .cut("its log \(path)-wal is gone, and held \(index.frames) pages")
    }
    if let index {
      if log.isHeaderRight, index.salt == log.salt {
        if index.frames > log.committed {
          return .cut("its log \(path)-wal breaks off after page \(log.committed) of \(index.frames)")
        }
        return .sound
      }
      if index.isBehind {
        return .cut("its log \(path)-wal is not the one of \(index.frames) pages that it had")
      }
    }
    if !log.isHeaderRight { return .torn("its log \(path)-wal does not begin as one does") }
    if log.strays > 0 {
      return .torn(
        "its log \(path)-wal holds \(log.strays) pages behind page \(log.committed) that are not right")
    }
    return .sound
  }

  /// Whether the header's checksum is right.
  private var isHeaderRight = false
  /// What the frames of this log are marked with.
  private var salt: [UInt8] = []
  /// Frames up to the last commit that is right.
  private var committed: UInt32 = 0
  /// Frames behind those that are right, with this log's mark.
  private var strays = 0

  /// Reads a log; `nil` if it is not there, has no frame, or is too large for one.
  private init?(_ path: String) {
    guard let bytes = Self.bytes(of: path), bytes.count >= Self.headerBytes + Self.frameHeaderBytes else {
      return nil
    }
    let magic = Self.number(bytes, 0)
    let pageBytes = Int(Self.number(bytes, 8))
    salt = Array(bytes[16..<24])
    var sum = Checksum(isBigEndian: magic & 1 == 1)
    sum.add(bytes[0..<24])
    guard magic & ~1 == 0x377F_0682, (512...65536).contains(pageBytes), pageBytes.nonzeroBitCount == 1,
      sum.isRight(bytes, at: 24)
    else { return }
    isHeaderRight = true
    let frameBytes = Self.frameHeaderBytes + pageBytes
    var isChained = true
    var frame: UInt32 = 0
    for start in stride(from: Self.headerBytes, through: bytes.count - frameBytes, by: frameBytes) {
      frame += 1
      let mark = bytes[start + 8..<start + 16]
      if isChained {
        sum.add(bytes[start..<start + 8])
        sum.add(bytes[start + Self.frameHeaderBytes..<start + frameBytes])
        isChained = mark.elementsEqual(salt) && sum.isRight(bytes, at: start + 16)
        if isChained {
          // A frame that ends a transaction has the database's size.
          if Self.number(bytes, start + 4) > 0 { committed = frame }
          continue
        }
      }
      if mark.prefix(4).elementsEqual(salt[..<4]) || mark.suffix(4).elementsEqual(salt[4...]) { strays += 1 }
    }
  }

  /// A file's bytes; `nil` if it is not there or longer than any log of ours.
  private static func bytes(of path: String) -> [UInt8]? {
    // One that cannot be read SQLite cannot read either, and says so.
    guard let bytes = try? SmallFile.bytes(path, limit: Limits.journalLogBytes),
      bytes.count <= Limits.journalLogBytes
    else { return nil }
    return bytes
  }

  /// A number of four bytes, the highest first.
  fileprivate static func number(_ bytes: [UInt8], _ place: Int) -> UInt32 {
    bytes[place..<place + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// The sum over all that came before.
  private struct Checksum {
    let isBigEndian: Bool
    private var first: UInt32 = 0
    private var second: UInt32 = 0

    init(isBigEndian: Bool) { self.isBigEndian = isBigEndian }

    mutating func add(_ bytes: ArraySlice<UInt8>) {
      bytes.withUnsafeBytes { bytes in
        for place in stride(from: 0, to: bytes.count - 7, by: 8) {
          let (one, two) = (word(bytes, place), word(bytes, place + 4))
          first &+= one &+ second
          second &+= two &+ first
        }
      }
    }

    private func word(_ bytes: UnsafeRawBufferPointer, _ place: Int) -> UInt32 {
      let word = bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)
      return isBigEndian ? UInt32(bigEndian: word) : UInt32(littleEndian: word)
    }

    func equals(_ first: UInt32, _ second: UInt32) -> Bool { first == self.first && second == self.second }

    /// Whether it is what stands in a header.
    func isRight(_ bytes: [UInt8], at place: Int) -> Bool {
      equals(JournalLog.number(bytes, place), JournalLog.number(bytes, place + 4))
    }
  }

  /// What the shared memory says of the log.
  private struct Index {
    /// Frames that are committed.
    let frames: UInt32
    /// How many of them are in the database already.
    let moved: UInt32
    /// What they are marked with.
    let salt: [UInt8]

    /// Whether the database without the log lacks something.
    var isBehind: Bool { frames > moved }

    private static let headerBytes = 48

    /// Reads it; `nil` if it is not there, or was not finished.
    init?(_ path: String) {
      guard let bytes = JournalLog.bytes(of: path), bytes.count >= 2 * Self.headerBytes + 4 else {
        return nil
      }
      let header = bytes[..<Self.headerBytes]
      // Two copies, so that a half-written one is seen.
      guard header.elementsEqual(bytes[Self.headerBytes..<2 * Self.headerBytes]), bytes[12] == 1 else {
        return nil
      }
      func native(_ place: Int) -> UInt32 {
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: UInt32.self) }
      }
      var sum = Checksum(isBigEndian: UInt32(1) == UInt32(bigEndian: 1))
      sum.add(bytes[..<40])
      guard sum.equals(native(40), native(44)) else { return nil }
      frames = native(16)
      moved = native(2 * Self.headerBytes)
      salt = Array(bytes[32..<40])
    }
  }

  // MARK: Boots

  /// Notes, beside a database that was opened for writing, in which boot that was.
  ///
  /// On a full disk it goes without, or with half of it: then less of the log is checked.
  ///
  /// - Throws: `invalidArgument` if something else has the note's place; by errno.
  package static func noteBoot(_ path: String) throws(BlockError) {
    guard SmallFile.text(bootNote(path)) != bootID else { return }
    let bytes = Array(bootID.utf8)
    do throws(BlockError) {
      let note = try Descriptor.openOwn(bootNote(path), O_WRONLY | O_CREAT | O_TRUNC, step: "write")
      guard Glibc.write(note.raw, bytes, bytes.count) >= 0 else {
        throw BlockError(errno: Errno(rawValue: errno), step: "write", object: bootNote(path))
      }
    } catch  where error.kind == .noSpace {
      return
    }
  }

  /// Whether the shared memory beside a database is of this boot: the end of an earlier one may have lost what was newest
  /// of the log.
  private static func isOfThisBoot(_ path: String) -> Bool {
    if let noted = SmallFile.text(bootNote(path)) { return noted == bootID }
    // An earlier release has noted none: all that there is are the clocks.
    var status = stat()
    return stat("\(path)-shm", &status) == 0 && bootTime.map { $0 <= status.st_mtim.tv_sec } ?? false
  }

  private static func bootNote(_ path: String) -> String { "\(path)-boot" }

  private static var bootID: String { SmallFile.text("/proc/sys/kernel/random/boot_id") ?? "" }

  /// When the host was booted, in seconds since 1970.
  private static var bootTime: Int? {
    let lines = SmallFile.text("/proc/stat")?.split(separator: "\n") ?? []
    return lines.first { $0.hasPrefix("btime ") }.flatMap { Int($0.dropFirst(6)) }
  }
}
