import BlockCore
import CLinux
import Glibc
import LinuxIO
import SystemPackage

/// The owner of the memory that a ring and its data area are in.
///
/// Every access names an offset that its caller has checked; one outside of the memory ends the process, since it
/// would be a defect of ours.
public struct RingMemory: ~Copyable, Sendable {
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer
  /// Its size in bytes.
  public let byteCount: Int

  /// Maps a device's memory.
  ///
  /// - Parameters:
  ///   - descriptor: The device, open for reading and writing; it need not stay open.
  ///   - byteCount: All of what it offers; the kernel maps nothing else.
  ///   - name: What errors call it.
  /// - Throws: `invalidArgument` for a size that no ring has, others by errno.
  public init(mapping descriptor: borrowing Descriptor, byteCount: Int, name: String) throws(BlockError) {
    try self.init(byteCount, MAP_SHARED, descriptor.raw, name)
  }

  /// Takes memory that no kernel shares: for tests and tools.
  ///
  /// - Throws: By errno.
  public init(unshared byteCount: Int) throws(BlockError) {
    try self.init(byteCount, MAP_PRIVATE | MAP_ANONYMOUS, -1, "memory")
  }

  private init(_ byteCount: Int, _ flags: Int32, _ descriptor: Int32, _ name: String) throws(BlockError) {
    guard byteCount >= RingLayout.mailboxByteCount, byteCount <= Limits.ringBytes else {
      throw BlockError(
        .invalidArgument, step: "map the ring of", object: name,
        cause: "it says that it has \(byteCount) bytes")
    }
    guard let base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, descriptor, 0), base != MAP_FAILED
    else { throw BlockError(errno: Errno(rawValue: errno), step: "map the ring of", object: name) }
    self.base = base
    self.byteCount = byteCount
  }

  deinit { munmap(base, byteCount) }

  /// A value in the memory, in the machine's byte order.
  @inline(__always)
  public func load<Value: BitwiseCopyable>(_ offset: Int, as type: Value.Type) -> Value {
    check(offset, MemoryLayout<Value>.size)
    return base.loadUnaligned(fromByteOffset: offset, as: type)
  }

  /// Puts a value into the memory, in the machine's byte order.
  @inline(__always)
  public func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int) {
    check(offset, MemoryLayout<Value>.size)
    base.storeBytes(of: value, toByteOffset: offset, as: Value.self)
  }

  /// A word that the other side publishes, and with it all that it wrote before.
  @inline(__always)
  public func loadAcquiring(_ offset: Int) -> UInt32 {
    check(offset, MemoryLayout<UInt32>.size)
    return clinux_load_acquire(base + offset)
  }

  /// Publishes a word, and with it all that was written before.
  @inline(__always)
  public func storeReleasing(_ value: UInt32, at offset: Int) {
    check(offset, MemoryLayout<UInt32>.size)
    clinux_store_release(base + offset, value)
  }

  /// Where a range of it is; valid as long as the owner lives.
  @inline(__always)
  public func pointer(to offset: Int, byteCount: Int) -> UnsafeMutableRawPointer {
    check(offset, byteCount)
    return base + offset
  }

  @inline(__always)
  private func check(_ offset: Int, _ count: Int) {
    precondition(offset >= 0 && count >= 0 && offset <= byteCount &- count, "outside of the ring's memory")
  }
}
