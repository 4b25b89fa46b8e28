import BlockCore
import CLinux
import Glibc
import Synchronization

/// Which pages of a file were seen in the page cache: one bit for each.
///
/// A bit is set when a read that must not wait has succeeded there, or one that may has returned. The
/// kernel may drop the page later; then a copy from the mapping waits for the disk once. A thread that
/// sees itself waiting calls ``forgetAll()``, and the file's pages prove themselves anew.
final class ResidencyMap: Sendable {
  // Set once in init, freed in deinit; the words behind it are atomics.
  private nonisolated(unsafe) let words: UnsafeMutablePointer<Atomic<UInt64>>
  private let pageCount: Int
  private let wordCount: Int
  private let mappedBytes: Int

  /// Makes a map of nothing seen; memory is taken as pages of it are touched: 32 KiB for 1 GiB of file.
  ///
  /// `nil` if there is no memory for it.
  init?(byteCount: Int) {
    pageCount = (byteCount + Limits.pageSize - 1) / Limits.pageSize
    wordCount = (pageCount + 63) / 64
    mappedBytes = wordCount * MemoryLayout<UInt64>.stride
    let protection = PROT_READ | PROT_WRITE
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let memory = mmap(nil, mappedBytes, protection, flags, -1, 0), memory != MAP_FAILED else {
      return nil
    }
    // Anonymous memory is zero, which is an atomic's representation of 0.
    words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: wordCount)
  }

  deinit {
    munmap(words, mappedBytes)
  }

  /// Whether every page of a range was seen resident; what the file has grown by since is not.
  ///
  /// - Precondition: `byteCount` is not 0.
  @inline(__always)
  func covers(offset: Int, byteCount: Int) -> Bool {
    let first = offset / Limits.pageSize
    let last = (offset + byteCount - 1) / Limits.pageSize
    if last >= pageCount { return false }
    if first / 64 == last / 64 {
      let mask = Self.mask(from: first % 64, through: last % 64)
      return words[first / 64].load(ordering: .relaxed) & mask == mask
    }
    return coversWords(first, last)
  }

  private func coversWords(_ first: Int, _ last: Int) -> Bool {
    for word in first / 64...last / 64 {
      let mask = Self.mask(
        from: word == first / 64 ? first % 64 : 0, through: word == last / 64 ? last % 64 : 63)
      if words[word].load(ordering: .relaxed) & mask != mask { return false }
    }
    return true
  }

  /// Notes that the pages of a range were just read.
  func note(offset: Int, byteCount: Int) {
    forEachWord(offset, byteCount) { word, mask in words[word].bitwiseOr(mask, ordering: .relaxed) }
  }

  /// Takes the pages of a range for unseen.
  func forget(offset: Int, byteCount: Int) {
    forEachWord(offset, byteCount) { word, mask in words[word].bitwiseAnd(~mask, ordering: .relaxed) }
  }

  private func forEachWord(_ offset: Int, _ byteCount: Int, _ body: (Int, UInt64) -> Void) {
    if byteCount == 0 { return }
    let first = offset / Limits.pageSize
    let last = min((offset + byteCount - 1) / Limits.pageSize, pageCount - 1)
    if first > last { return }
    for word in first / 64...last / 64 {
      body(
        word,
        Self.mask(from: word == first / 64 ? first % 64 : 0, through: word == last / 64 ? last % 64 : 63))
    }
  }

  /// Takes every page for unseen.
  func forgetAll() {
    // The kernel hands out zeros afterwards. A bit that another thread sets meanwhile may get lost,
    // which costs it one more system call.
    madvise(words, mappedBytes, MADV_DONTNEED)
  }

  @inline(__always)
  private static func mask(from first: Int, through last: Int) -> UInt64 {
    (~0 << UInt64(first)) & (~0 >> UInt64(63 - last))
  }
}

/// What a thread notices of its own waiting for pages.
final class FaultWatch: WorkspaceComponent {
  private var copies = 0
  private var majorFaults = 0

  /// How many copies pass between two looks.
  private static let interval = 256

  required init() {
    majorFaults = Self.majorFaultsOfThread()
  }

  /// To be called after each copy from a mapping: whether this thread had to wait for pages lately.
  @inline(__always)
  func noticesWaiting() -> Bool {
    copies &+= 1
    return copies % Self.interval == 0 && look()
  }

  private func look() -> Bool {
    let before = majorFaults
    majorFaults = Self.majorFaultsOfThread()
    // One fault can be a page of code; more than that are reads of the disk.
    return majorFaults > before + 1
  }

  private static func majorFaultsOfThread() -> Int {
    clinux_thread_major_faults()
  }
}
