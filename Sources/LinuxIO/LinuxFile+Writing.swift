import BlockCore
import CLinux
import Glibc
import Synchronization
import SystemPackage

extension LinuxFile {
  /// Copies into the page cache.
  ///
  /// The kernel may hold the copy back while too many pages are dirty; that back-pressure is wanted, so
  /// it does not count as waiting.
  public func writeNow(at offset: UInt64, from data: RawSpan) throws(BlockError) -> ServeOutcome {
    try writeAll(at: offset, from: data)
    return .done
  }

  /// Copies into the page cache, and flushes if it is to be durable.
  ///
  /// Not with `RWF_DSYNC`: a loss that it is told of is told to no flush beside it, nor the other way round. In line with
  /// the flushes, many such writes wait for one.
  public func write(at offset: UInt64, from data: RawSpan, isDurable: Bool) async throws(BlockError) {
    try writeAll(at: offset, from: data)
    if isDurable { try await synchronize() }
  }

  private func writeAll(at offset: UInt64, from data: RawSpan) throws(BlockError) {
    try checkWritable("write")
    try checkRange(at: offset, byteCount: data.byteCount)
    let raw = descriptor.raw
    let result = data.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        let rest = bytes.baseAddress.map { $0 + done }
        let position = off_t(offset) + off_t(done)
        let result = pwrite(raw, rest, bytes.count - done, position)
        if result > 0 {
          done += result
        } else if result == 0 {
          return ENOSPC
        } else if errno != EINTR {
          return errno
        }
      }
      return 0
    }
    guard result == 0 else {
      throw BlockError(
        errno: Errno(rawValue: result), step: "write",
        object: "\(data.byteCount) bytes at byte \(offset) of \(name)")
    }
    if !isMemory { residency?.note(offset: Int(truncatingIfNeeded: offset), byteCount: data.byteCount) }
  }

  public func synchronize() async throws(BlockError) {
    try await flushes.join(name, now: { LinuxClock().sinceEpoch }) { () throws(BlockError) in
      try synchronizeWaiting()
    }
  }

  /// Flushes and waits for the disk, on the calling thread; only in ``flushes``.
  private func synchronizeWaiting() throws(BlockError) {
    while fdatasync(descriptor.raw) != 0 {
      if errno == EINTR { continue }
      // A file open for reading only has nothing to lose; some file systems refuse to flush it.
      if !isWritable && (errno == EROFS || errno == EINVAL || errno == EBADF) { return }
      throw .lastErrno(step: "flush", object: name)
    }
  }

  public func punchHole(_ range: Range<UInt64>) async throws(BlockError) {
    do {
      try allocate(range, clinux_PUNCH_HOLE, "punch a hole into")
    } catch  where isHeldByAnother(error) {
      try writeZeros(range)
    }
    residency?.forget(
      offset: Int(truncatingIfNeeded: range.lowerBound),
      byteCount: Int(clamping: range.upperBound - range.lowerBound))
  }

  public func zero(_ range: Range<UInt64>) async throws(BlockError) {
    do {
      try allocate(range, clinux_ZERO_RANGE, "zero")
    } catch  where error.kind == .unsupported || isHeldByAnother(error) {
      try writeZeros(range)
    }
  }

  /// Whether the kernel refuses to empty a range of a device whose pages are dirty while somebody else has it for himself.
  ///
  /// So it is with what is shared, and beneath a loop device, which says EIO for it.
  private func isHeldByAnother(_ error: BlockError) -> Bool {
    isBlockDevice && (error.errno == .resourceBusy || error.errno == .ioError)
  }

  private func allocate(_ range: Range<UInt64>, _ mode: Int32, _ step: String) throws(BlockError) {
    try checkWritable(step)
    try checkRange(at: range.lowerBound, byteCount: Int(clamping: range.upperBound - range.lowerBound))
    if range.isEmpty { return }
    while clinux_fallocate(
      descriptor.raw, mode, off_t(range.lowerBound), off_t(range.upperBound - range.lowerBound)) != 0
    {
      if errno != EINTR {
        throw .lastErrno(
          step: step, object: "bytes \(range.lowerBound) to \(range.upperBound) of \(name)")
      }
    }
  }

  /// Where a range cannot be zeroed (on tmpfs, say): writes the zeros.
  private func writeZeros(_ range: Range<UInt64>) throws(BlockError) {
    let zeros = [UInt8](repeating: 0, count: Limits.requestBytes)
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = Int(min(UInt64(zeros.count), range.upperBound - offset))
      try writeAll(at: offset, from: zeros.span.bytes.extracting(0..<count))
      offset += UInt64(count)
    }
  }

  func checkWritable(_ step: String) throws(BlockError) {
    guard isWritable else {
      throw BlockError(.readOnly, step: step, object: name, cause: "it is open for reading only")
    }
  }

  public func dataExtents(from start: UInt64) async throws(BlockError) -> [Range<UInt64>] {
    var extents: [Range<UInt64>] = []
    var position = off_t(start)
    while UInt64(position) < byteCount {
      let data = lseek(descriptor.raw, position, SEEK_DATA)
      // Block devices know of no holes.
      if data < 0 && errno == EINVAL && isBlockDevice { return [start..<byteCount] }
      if data < 0 && errno == ENXIO { break }
      guard data >= 0 else { throw .lastErrno(step: "seek the data of", object: name) }
      let hole = lseek(descriptor.raw, data, SEEK_HOLE)
      guard hole >= 0 else { throw .lastErrno(step: "seek the holes of", object: name) }
      if UInt64(data) >= byteCount { break }
      extents.append(UInt64(data)..<min(UInt64(hole), byteCount))
      position = hole
    }
    return extents
  }
}
