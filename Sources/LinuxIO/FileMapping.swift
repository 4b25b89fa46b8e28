import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The owner of a read-only shared mapping of a file.
///
/// A page that cannot be read (the file was cut short, the disk failed) raises SIGBUS at whoever touches
/// it, so the bytes are reached only through ``copy(from:into:)``, which turns that into an error.
struct FileMapping: ~Copyable, Sendable {
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer?
  /// The length in bytes; 0 if there is no mapping.
  let byteCount: Int

  /// No mapping.
  init() {
    base = nil
    byteCount = 0
  }

  private init(base: UnsafeMutableRawPointer, byteCount: Int) {
    self.base = base
    self.byteCount = byteCount
  }

  /// Maps the first bytes of a file; no mapping if the kernel refuses, which is no error.
  static func of(_ descriptor: borrowing Descriptor, byteCount: UInt64) -> FileMapping {
    guard byteCount > 0, let count = Int(exactly: byteCount),
      let base = mmap(nil, count, PROT_READ, MAP_SHARED, descriptor.raw, 0), base != MAP_FAILED
    else { return FileMapping() }
    clinux_guard_install()
    return FileMapping(base: base, byteCount: count)
  }

  deinit {
    if let base { munmap(base, byteCount) }
  }

  /// Copies bytes out of the mapping; false if the pages could not be read.
  ///
  /// - Precondition: `offset` and the destination's length lie inside the mapping.
  @inline(__always)
  func copy(from offset: Int, into destination: inout MutableRawSpan) -> Bool {
    precondition(offset >= 0 && offset <= byteCount &- destination.byteCount, "outside the mapping")
    let source = base
    return destination.withUnsafeMutableBytes { bytes in
      guard let target = bytes.baseAddress, let source else { return bytes.isEmpty }
      return clinux_guarded_copy(target, source + offset, bytes.count) == 0
    }
  }

  /// Whether all bytes of a range inside the mapping are zeros; `nil` if the pages could not be read.
  func isZero(_ range: Range<Int>) -> Bool? {
    guard let base else { return range.isEmpty }
    var isZero = true
    return clinux_guarded_is_zero(base + range.lowerBound, range.count, &isZero) == 0 ? isZero : nil
  }

  /// Whether a range inside the mapping has the bytes of another one; `nil` if pages could not be read.
  func isSame(_ range: Range<Int>, as other: borrowing FileMapping, at offset: Int) -> Bool? {
    guard let base, let there = other.base else { return range.isEmpty }
    var isSame = true
    let status = clinux_guarded_compare(base + range.lowerBound, there + offset, range.count, &isSame)
    return status == 0 ? isSame : nil
  }

  /// Bytes that may only be handed to the kernel, which answers `EFAULT` where pages cannot be read.
  ///
  /// They are there as long as the mapping is.
  func unreadBytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base.map { $0 + range.lowerBound }, count: base == nil ? 0 : range.count)
  }
}
