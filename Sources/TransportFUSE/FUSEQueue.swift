import BlockCore
import CFuse
import CLinux
import Glibc
import LinuxIO
import Synchronization
import SystemPackage

/// One queue of a FUSE connection: a thread with a descriptor of its own.
///
/// What can be served at once is served on the thread, from the request's receipt to its reply: no
/// allocation, no lock, no switch. What has to wait takes its slot along to a task and replies from there.
final class FUSEQueue: Sendable {
  let descriptor: Descriptor
  let counters = RequestCounters()
  private let volume: any Volume
  private let shared: FUSEConnection
  /// `nil` before it was started and once it was waited for.
  private let thread = Mutex<WorkerThread?>(nil)
  private let slots = SlotList(limit: Limits.waitingRequestsPerQueue) { FUSESlot() }

  init(_ descriptor: consuming Descriptor, _ volume: any Volume, _ shared: FUSEConnection) {
    self.descriptor = descriptor
    self.volume = volume
    self.shared = shared
  }

  /// Begins to serve; to be called once.
  ///
  /// - Throws: `exhausted` if the kernel has no thread to give.
  func start(_ number: Int) throws(BlockError) {
    try thread.withLock { thread throws(BlockError) in
      thread = try WorkerThread(name: "fuse-\(number)") { [self] in run() }
    }
  }

  /// Waits, on the calling thread, until the connection has ended and every request was answered.
  func waitUntilEnd() {
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
  }

  /// What a thread does until the connection ends.
  private func run() {
    let workspace = Workspace()
    FUSEConnection.setReplyDescriptor(descriptor.raw)
    var slot = slots.take()
    while receive(into: slot) {
      if serve(&slot, workspace) == .mustWait {
        counters.noteWaiting()
        // The slot has gone to a task; with none left the queue waits, and the kernel's queue grows.
        slot = slots.take()
      }
    }
    slots.give(slot)
    slots.waitForAll()
  }

  /// Waits for a request; false when the connection is over.
  @inline(__always)
  private func receive(into slot: FUSESlot) -> Bool {
    while true {
      let count = read(descriptor.raw, slot.memory.baseAddress, slot.memory.count)
      if count >= MemoryLayout<fuse_in_header>.size { return true }
      if count >= 0 { continue }
      switch errno {
      // ENOENT: the request was taken back before it could be read.
      case EINTR, ENOENT, EAGAIN: continue
      // ENODEV: unmounted, or aborted; ECONNABORTED: that happened while the request was being read.
      case ENODEV, ECONNABORTED: return false
      case let code:
        shared.report("queue stopped: read of /dev/fuse failed: \(Errno(rawValue: code))")
        return false
      }
    }
  }

  /// Serves the request in a slot; ``ServeOutcome/mustWait`` if a task has taken the slot over.
  @inline(__always)
  private func serve(_ slot: inout FUSESlot, _ workspace: Workspace) -> ServeOutcome {
    let header = slot.header
    switch header.opcode {
    case FUSE_READ.rawValue: return serveRead(slot, header, workspace)
    case FUSE_WRITE.rawValue: return serveWrite(slot, header, workspace)
    case FUSE_FSYNC.rawValue:
      if shared.hasNoUsers {
        send(header.unique, 0, UnsafeMutableRawBufferPointer(start: nil, count: 0))
        return .done
      }
      return serveCommand(slot, header, .flush, workspace)
    case FUSE_FALLOCATE.rawValue: return serveAllocation(slot, header, workspace)
    // A request that waits cannot be called back; ignoring that is allowed.
    case FUSE_INTERRUPT.rawValue: return .done
    default:
      shared.process(slot.memory, count: Int(header.len))
      return .done
    }
  }

  private func serveRead(_ slot: FUSESlot, _ header: fuse_in_header, _ workspace: Workspace) -> ServeOutcome {
    let arguments = slot.argument(fuse_read_in.self)
    let size = volume.geometry.byteCount
    // A file's read ends with the file; a volume's may not go beyond.
    let count = arguments.offset >= size ? 0 : Int(min(UInt64(arguments.size), size - arguments.offset))
    guard count <= Limits.requestBytes else {
      reply(to: header.unique, error: .invalidArgument)
      return .done
    }
    let request = BlockRequest(.read, at: arguments.offset, byteCount: UInt64(count))
    return serve(request, slot.data(count: count), slot, header, workspace)
  }

  private func serveWrite(_ slot: FUSESlot, _ header: fuse_in_header, _ workspace: Workspace) -> ServeOutcome
  {
    let arguments = slot.argument(fuse_write_in.self)
    let count = Int(arguments.size)
    let received = Int(header.len) - MemoryLayout<fuse_in_header>.size - MemoryLayout<fuse_write_in>.size
    guard count <= received, count <= Limits.requestBytes else {
      reply(to: header.unique, error: .invalidArgument)
      return .done
    }
    let isDurable = arguments.flags & UInt32(O_DSYNC) != 0
    let request = BlockRequest(
      .write, at: arguments.offset, byteCount: UInt64(count), flags: isDurable ? .forceUnitAccess : [])
    return serve(request, slot.writtenData(count: count), slot, header, workspace)
  }

  private func serveAllocation(_ slot: FUSESlot, _ header: fuse_in_header, _ workspace: Workspace)
    -> ServeOutcome
  {
    let arguments = slot.argument(fuse_fallocate_in.self)
    let flags: BlockRequest.Flags
    switch Int32(bitPattern: arguments.mode) {
    // The loop driver sends this for a discard and for write-zeroes alike, so the range has to read as
    // zeros afterwards.
    case clinux_PUNCH_HOLE: flags = .mayUnmap
    case clinux_ZERO_RANGE: flags = []
    default:
      reply(to: header.unique, error: .notSupported)
      return .done
    }
    return serveCommand(
      slot, header,
      BlockRequest(.writeZeroes, at: arguments.offset, byteCount: arguments.length, flags: flags), workspace)
  }

  private func serveCommand(
    _ slot: FUSESlot, _ header: fuse_in_header, _ request: BlockRequest, _ workspace: Workspace
  ) -> ServeOutcome {
    serve(request, slot.data(count: 0), slot, header, workspace)
  }

  @inline(__always)
  private func serve(
    _ request: BlockRequest, _ data: UnsafeMutableRawBufferPointer, _ slot: FUSESlot,
    _ header: fuse_in_header, _ workspace: Workspace
  ) -> ServeOutcome {
    counters.note(request)
    do {
      var span = data.mutableBytes
      guard try volume.performNow(request, data: &span, using: workspace) == .done else {
        hand(request, data, slot, header.unique)
        return .mustWait
      }
      reply(to: header.unique, request, data)
    } catch {
      fail(header.unique, error)
    }
    return .done
  }

  /// Hands a request that has to wait to a task of its own.
  private func hand(
    _ request: BlockRequest, _ data: UnsafeMutableRawBufferPointer, _ slot: FUSESlot, _ unique: UInt64
  ) {
    // The data lies in the slot, which goes along.
    let place = SlotData(slot: slot, data: data)
    Task(executorPreference: shared.executor) {
      do throws(BlockError) {
        try await self.shared.workspaces.withWorkspace { (workspace) async throws(BlockError) in
          var span = place.data.mutableBytes
          try await self.volume.serve(request, data: &span, using: workspace)
        }
        self.reply(to: unique, request, place.data)
      } catch {
        self.fail(unique, error)
      }
      self.slots.give(place.slot)
    }
  }

  private func fail(_ unique: UInt64, _ error: BlockError) {
    counters.noteFailure()
    shared.report(error.description)
    reply(to: unique, error: error.kind.codes.errno)
  }

  /// Replies to a request that was served.
  @inline(__always)
  private func reply(to unique: UInt64, _ request: BlockRequest, _ data: UnsafeMutableRawBufferPointer) {
    switch request.operation {
    case .read: send(unique, 0, data)
    case .write:
      var written = fuse_write_out(size: UInt32(request.byteCount), padding: 0)
      withUnsafeMutableBytes(of: &written) { send(unique, 0, $0) }
    case .flush, .discard, .writeZeroes: send(unique, 0, UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }
  }

  private func reply(to unique: UInt64, error: Errno) {
    send(unique, -error.rawValue, UnsafeMutableRawBufferPointer(start: nil, count: 0))
  }

  @inline(__always)
  private func send(_ unique: UInt64, _ error: Int32, _ data: UnsafeMutableRawBufferPointer) {
    let headerSize = MemoryLayout<fuse_out_header>.size
    var header = fuse_out_header(len: UInt32(headerSize + data.count), error: error, unique: unique)
    let sent = withUnsafeMutablePointer(to: &header) { header in
      withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { parts in
        parts.initializeElement(at: 0, to: iovec(iov_base: header, iov_len: headerSize))
        parts.initializeElement(at: 1, to: iovec(iov_base: data.baseAddress, iov_len: data.count))
        return writev(descriptor.raw, parts.baseAddress, data.isEmpty ? 1 : 2)
      }
    }
    // ENOENT: the request was aborted meanwhile; ENODEV: the connection is over, which the reader sees.
    if sent < 0 && errno != ENOENT && errno != ENODEV {
      shared.report("reply to request \(unique) failed: \(Errno(rawValue: errno))")
    }
  }
}

/// A slot on its way to a task, with the place in it where the request's data is.
///
/// Proof for `@unchecked Sendable`: the pointer leads into the slot, which moves along and is `Sendable`
/// by its own proof.
private struct SlotData: @unchecked Sendable {
  let slot: FUSESlot
  let data: UnsafeMutableRawBufferPointer
}
