import BlockCore
import CFuse
import CLinux
import Glibc
import LinuxIO
import Synchronization
import SystemPackage

/// What the queues of a FUSE connection share: libfuse's session for all that is not data, the executor
/// of the second phase, and the place where trouble is reported.
///
/// Reads, writes, flushes and allocations are served by the queues themselves; libfuse answers the rest,
/// which is a few requests in a device's life, on the queue thread that received them.
final class FUSEConnection: Sendable {
  let executor: BlockingExecutor
  let workspaces = WorkspacePool()
  private let fileName: String
  private let geometry: VolumeGeometry
  private let onReport: @Sendable (String) -> Void
  private let isBeingSetUp = Atomic(false)
  // Set in init, freed in deinit; libfuse's session may be used by several threads (fuse_session_loop_mt
  // does the same).
  private nonisolated(unsafe) var session: OpaquePointer?

  /// The inode number of the one file.
  static let fileInode: fuse_ino_t = 2
  /// How long the kernel may take names and attributes for true, in seconds: they never change.
  static let forever = 1e9

  init(
    master: borrowing Descriptor, fileName: String, geometry: VolumeGeometry, executor: BlockingExecutor,
    onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) {
    self.executor = executor
    self.fileName = fileName
    self.geometry = geometry
    self.onReport = onReport
    try begin(master)
  }

  /// Whether nobody can have written yet, so that a flush has nothing to flush.
  var hasNoUsers: Bool { isBeingSetUp.load(ordering: .relaxed) }

  /// Runs a body that sets the device up, before anybody can use it.
  ///
  /// The loop driver flushes the file then. A process that is killed meanwhile ends only when that is answered, and
  /// nobody is left to do so: the answer may not take long.
  func settingUp<Value: ~Copyable>(_ body: () throws(BlockError) -> Value) throws(BlockError) -> Value {
    isBeingSetUp.store(true, ordering: .relaxed)
    defer { isBeingSetUp.store(false, ordering: .relaxed) }
    return try body()
  }

  deinit {
    if let session { fuse_session_destroy(session) }
  }

  private func begin(_ master: borrowing Descriptor) throws(BlockError) {
    var operations = Self.operations
    let program = strdup("ashlar")
    defer { free(program) }
    var arguments: [UnsafeMutablePointer<CChar>?] = [program, nil]
    session = arguments.withUnsafeMutableBufferPointer { pointers in
      var arguments = fuse_args(argc: 1, argv: pointers.baseAddress, allocated: 0)
      return fuse_session_new(
        &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size,
        Unmanaged.passUnretained(self).toOpaque())
    }
    guard let session else {
      throw BlockError(
        .unavailable, step: "begin", object: "a FUSE session", cause: "libfuse refused",
        remedy: "Check that libfuse3 is 3.14 or newer.")
    }
    var io = fuse_custom_io()
    io.writev = { _, parts, count, _ in writev(FUSEConnection.replyDescriptor, parts, count) }
    io.read = { descriptor, buffer, count, _ in read(descriptor, buffer, count) }
    // It closes the descriptor with the session, so it gets one of its own.
    let own = try master.duplicate(notBelow: FUSEExport.lowestDescriptor)
    guard fuse_session_custom_io(session, &io, own.raw) == 0 else {
      throw BlockError(
        .unavailable, step: "begin", object: "a FUSE session",
        cause: "libfuse does not take a descriptor of ours",
        remedy: "Check that libfuse3 is 3.14 or newer.")
    }
    _ = own.release()
  }

  /// Lets libfuse answer a request, on the thread that received it.
  func process(_ memory: UnsafeMutableRawBufferPointer, count: Int) {
    var buffer = fuse_buf()
    buffer.mem = memory.baseAddress
    buffer.size = count
    fuse_session_process_buf(session, &buffer)
  }

  func report(_ message: String) { onReport(message) }

  // MARK: The thread's reply descriptor

  // A reply has to go through the descriptor that the request came from, and libfuse knows only the first.
  private static let replyKey: pthread_key_t = {
    var key = pthread_key_t()
    pthread_key_create(&key, nil)
    return key
  }()

  /// Says which descriptor the calling thread replies through.
  static func setReplyDescriptor(_ descriptor: Int32) {
    pthread_setspecific(replyKey, UnsafeRawPointer(bitPattern: Int(descriptor) + 1))
  }

  private static var replyDescriptor: Int32 {
    Int32(Int(bitPattern: pthread_getspecific(replyKey)) - 1)
  }

  // MARK: What libfuse asks

  private static func connection(_ request: fuse_req_t?) -> FUSEConnection {
    Unmanaged<FUSEConnection>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
  }

  private static let operations: fuse_lowlevel_ops = {
    var operations = fuse_lowlevel_ops()
    operations.`init` = { _, info in
      guard let info else { return }
      info.pointee.max_write = UInt32(Limits.requestBytes)
      // The kernel's own default of 12 would hold back a deep queue.
      info.pointee.max_background = 512
      info.pointee.congestion_threshold = 512
    }
    operations.lookup = { request, parent, name in
      let connection = FUSEConnection.connection(request)
      guard parent == FUSE_ROOT_ID, let name, String(cString: name) == connection.fileName else {
        fuse_reply_err(request, ENOENT)
        return
      }
      var entry = fuse_entry_param()
      entry.ino = fileInode
      entry.attr = connection.attributes(of: fileInode)
      entry.attr_timeout = forever
      entry.entry_timeout = forever
      fuse_reply_entry(request, &entry)
    }
    operations.getattr = { request, inode, _ in
      let connection = FUSEConnection.connection(request)
      var attributes = connection.attributes(of: inode)
      fuse_reply_attr(request, &attributes, forever)
    }
    operations.open = { request, inode, info in
      let connection = FUSEConnection.connection(request)
      guard inode == fileInode, let info else {
        fuse_reply_err(request, EISDIR)
        return
      }
      if connection.geometry.isReadOnly && info.pointee.flags & O_ACCMODE != O_RDONLY {
        fuse_reply_err(request, EROFS)
        return
      }
      // No page of the file is cached here: the disk above has its own cache, and the files below theirs.
      info.pointee.direct_io = 1
      // No FLUSH when a descriptor of the file is closed: a server that is killed while it holds one would
      // wait for its own answer for ever.
      info.pointee.noflush = 1
      fuse_reply_open(request, info)
    }
    operations.statfs = { request, _ in
      let connection = FUSEConnection.connection(request)
      var status = statvfs()
      // The loop driver takes this for the granularity of discards.
      status.f_bsize = UInt(connection.geometry.logicalBlockSize)
      status.f_frsize = UInt(connection.geometry.logicalBlockSize)
      status.f_blocks = UInt(connection.geometry.byteCount) / UInt(connection.geometry.logicalBlockSize)
      fuse_reply_statfs(request, &status)
    }
    operations.release = { request, _, _ in fuse_reply_err(request, 0) }
    return operations
  }()

  private func attributes(of inode: fuse_ino_t) -> stat {
    var attributes = stat()
    attributes.st_ino = UInt(inode)
    attributes.st_nlink = 1
    if inode == Self.fileInode {
      attributes.st_mode = S_IFREG | (geometry.isReadOnly ? 0o400 : 0o600)
      attributes.st_size = off_t(geometry.byteCount)
      attributes.st_blocks = off_t(geometry.sectorCount)
      attributes.st_blksize = Limits.pageSize
    } else {
      attributes.st_mode = S_IFDIR | 0o500
    }
    return attributes
  }
}
