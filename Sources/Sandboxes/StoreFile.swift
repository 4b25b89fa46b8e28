import Attachments
import BlockCore
import CLinux
import DiskFormats
import Glibc
import Hashing
import LinuxIO
import SystemPackage

/// The file of a sandbox's changes: a header of ours, and behind it what the kernel makes of the rest.
struct StoreFile: Sendable {
  /// Bytes of a thin pool's block.
  static let thinBlock: UInt64 = 64 << 10

  let file: HeldFile
  let header: SandboxStoreHeader

  /// A header for a new store, with all that is needed so that its whole disk can be rewritten.
  static func header(for row: SandboxJournal.Row) -> SandboxStoreHeader {
    let isThin = row.driver == SandboxDriver.thin.rawValue
    // Digests and IDs in rows are ours: they have the length that they ought to have.
    let base = Digest256(row.baseSHA256) ?? Digest256([UInt8](repeating: 0, count: Digest256.byteCount))
    return SandboxStoreHeader(
      kind: isThin ? .thin : .snapshot, id: bytes(of: row.storeID), base: base,
      baseByteCount: UInt64(row.baseSize), byteCount: UInt64(row.size),
      chunkByteCount: isThin ? UInt32(thinBlock) : UInt32(SnapshotExceptions.chunkByteCount),
      metadataByteCount: isThin ? thinMetadata(for: UInt64(row.size)) : 0, quota: UInt64(row.quota))
  }

  /// Room for what is where, for the disk and for some forks of it: 64 bytes a block and fork.
  private static func thinMetadata(for byteCount: UInt64) -> UInt64 {
    min(max(8 << 20, byteCount / thinBlock * 512), Limits.thinMetadataBytes) / 4096 * 4096
  }

  /// 32 hexadecimal digits as bytes.
  static func bytes(of id: String) -> [UInt8] {
    let digits = Array(id)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16) ?? 0 }
  }

  /// The size of the file in which a store of that header has all its room, for so many disks.
  static func byteCount(for header: SandboxStoreHeader, disks: UInt64 = 1) -> UInt64 {
    switch header.kind {
    case .snapshot:
      return SandboxStoreHeader.storeOffset
        + SnapshotExceptions.chunksNeeded(forDiskOf: header.byteCount) * SnapshotExceptions.chunkByteCount
    case .thin:
      let disk = (header.byteCount + thinBlock - 1) / thinBlock * thinBlock
      let each = header.quota > 0 ? max(header.quota / thinBlock, 1) * thinBlock : disk
      // What forks share stays until the last one has rewritten it, and what that one gives up is free only with the
      // pool's next commit: the kernel fails writes before it thinks of one (sm_disk_get_nr_free, since Linux 5.14).
      let shares = disks > 1 ? disks + 1 : 1
      return SandboxStoreHeader.storeOffset + header.metadataByteCount + each * shares
    }
  }

  /// What a new store is called until it is whole: a name that nobody else comes upon.
  static func temporary(for row: SandboxJournal.Row) -> String { "\(row.store).\(row.storeID).new" }

  /// Whether a file's name is what ``temporary(for:)`` makes of a store in our directory.
  static func isTemporary(_ name: String) -> Bool {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    return name.hasPrefix("sandbox-") && parts.count >= 4 && parts.suffix(3).first == "store"
      && parts.last == "new" && parts.suffix(2).first?.wholeMatch(of: /[0-9a-f]{32}/) != nil
  }

  /// Makes the store of a sandbox; it has its name only when its header is on stable storage.
  ///
  /// - Throws: `conflict` if something has that name, `noSpace` and others by errno.
  static func create(_ row: SandboxJournal.Row, _ services: HostServices) async throws(BlockError) {
    let header = header(for: row)
    let path = temporary(for: row)
    let file: any BlockFile
    do throws(BlockError) {
      file = try await services.files.create(path, byteCount: byteCount(for: header))
    } catch  where error.kind == .readOnly || error.kind == .notFound {
      throw BlockError(
        error.kind, step: "make the store", object: row.store, cause: error.cause,
        remedy: "Choose another place with --store.", errno: error.errno)
    }
    let bytes = try header.encoded()
    try await file.write(at: 0, from: bytes.span.bytes, isDurable: false)
    if header.kind == .thin {
      // A pool that cannot write down what is where is read-only for good.
      let blocks = header.byteCount / thinBlock
      let room = min(header.metadataByteCount, blocks * 64 + (2 << 20))
      try LinuxFileSystem.allocate(
        SandboxStoreHeader.storeOffset..<SandboxStoreHeader.storeOffset + room, of: path)
    }
    try await file.synchronize()
    do throws(BlockError) {
      try await services.files.rename(path, to: row.store, replaces: false)
    } catch  where error.kind == .conflict {
      throw BlockError(
        .conflict, step: "make the store", object: row.store, cause: "there is a file of that name already",
        remedy: "Choose another one with --store.")
    }
  }

  /// Opens the store of a sandbox, and checks that it is that one and whole.
  ///
  /// - Parameters:
  ///   - row: The sandbox.
  ///   - isNew: Whether we have just made it.
  /// - Throws: `busy` if somebody uses it; `conflict` for somebody else's store; `corrupt` with the place for one that
  ///   the kernel could not read to its end, so that no device is made that fails later.
  static func open(_ row: SandboxJournal.Row, isNew: Bool = false) async throws(BlockError) -> StoreFile {
    let file = try file(of: row)
    let held = try HeldFile(row.store, isShared: false, isNew: isNew)
    let header = try await header(of: row, in: file)
    if header.kind == .snapshot {
      _ = try await exceptions(in: file, header, Workspace())
      // What was cut off held nothing; the kernel needs the room.
      try restoreSize(held, byteCount(for: header))
    } else if file.byteCount < byteCount(for: header) {
      throw .corrupt(file: row.store, field: "the pool", at: file.byteCount, "is cut short")
    }
    return StoreFile(file: held, header: header)
  }

  /// The file of a sandbox's store, open for reading.
  ///
  /// - Throws: `notFound` if it is not there, others by errno.
  static func file(of row: SandboxJournal.Row) throws(BlockError) -> LinuxFile {
    do throws(BlockError) {
      return try LinuxFile(row.store, for: .readOnly)
    } catch  where error.kind == .notFound {
      throw BlockError(
        .notFound, step: "use the store of \(row.name)", object: row.store, cause: error.cause,
        remedy:
          "Put it back; or, if the changes are lost, remove the sandbox: ashlar sandbox rm \(row.name).",
        errno: error.errno)
    }
  }

  /// What a store says of itself, if it is that of a sandbox.
  ///
  /// - Throws: `conflict` for somebody else's store, `corrupt` for what is none.
  static func header(
    of row: SandboxJournal.Row, in file: LinuxFile
  ) async throws(BlockError) -> SandboxStoreHeader {
    guard file.byteCount >= UInt64(SandboxStoreHeader.byteCount) else {
      throw .corrupt(file: row.store, field: "the store's header", at: 0, "is cut short")
    }
    let header = try SandboxStoreHeader(
      try await file.bytes(at: 0, byteCount: SandboxStoreHeader.byteCount, using: Workspace()),
      file: row.store)
    guard header.id == bytes(of: row.storeID), header.base.description == row.baseSHA256,
      header.byteCount == UInt64(row.size)
    else {
      throw BlockError(
        .conflict, step: "use the store of \(row.name)", object: row.store,
        cause: "it is the store of another sandbox, whose base is sha256:\(header.base)",
        remedy: "Put the store of this one back.")
    }
    return header
  }

  /// The changed chunks of a snapshot's store.
  static func exceptions(
    in file: LinuxFile, _ header: SandboxStoreHeader, _ workspace: Workspace
  ) async throws(BlockError) -> SnapshotExceptions {
    let start = SandboxStoreHeader.storeOffset
    guard file.byteCount > start else {
      throw .corrupt(file: file.name, field: "the exception store", at: start, "is cut off")
    }
    let window = try ByteWindow(of: file, start..<file.byteCount)
    return try await SnapshotExceptions(
      window, diskByteCount: header.byteCount, present: window.byteCount, using: workspace)
  }

  private static func restoreSize(_ held: HeldFile, _ byteCount: UInt64) throws(BlockError) {
    let status = try HeldFile.status(of: held.descriptor, held.path)
    guard UInt64(status.st_size) < byteCount else { return }
    guard ftruncate(held.descriptor.raw, off_t(byteCount)) == 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "restore the size of", object: held.path)
    }
  }

  /// Whether the file of a sandbox's store is that, by the ID in its header; `nil` if it has none that can be read.
  private static func isStore(of row: SandboxJournal.Row) async throws(BlockError) -> Bool? {
    let file = try file(of: row)
    guard file.byteCount >= UInt64(SandboxStoreHeader.byteCount) else { return nil }
    let bytes = try await file.bytes(at: 0, byteCount: SandboxStoreHeader.byteCount, using: Workspace())
    do {
      return try SandboxStoreHeader(bytes, file: row.store).id == Self.bytes(of: row.storeID)
    } catch  where error.kind == .corrupt || error.kind == .unsupported {
      return nil
    }
  }

  /// Removes the store of a sandbox, and what was to become it; a file of somebody else stays.
  ///
  /// - Parameter isNameOurs: Whether the path is one that only we give to files: a file there without a header that can be
  ///   read is a damaged store.
  /// - Returns: Whether the store's name is free now.
  static func remove(
    _ row: SandboxJournal.Row, isNameOurs: Bool, _ services: HostServices
  ) async throws(BlockError) -> Bool {
    try services.files.remove(temporary(for: row))
    guard services.files.exists(row.store) else { return true }
    guard try await isStore(of: row) ?? isNameOurs else { return false }
    try services.files.remove(row.store)
    // Before its row goes: a store that comes back after a power cut would have nobody.
    try LinuxFileSystem.synchronizeDirectory(of: row.store)
    return true
  }

  /// Waits until no loop device has the store, which its lock tells, and puts it on stable storage.
  static func settle(
    _ row: SandboxJournal.Row, within deadline: Duration, _ clock: any HostClock
  ) async throws(BlockError) {
    let end = clock.now + deadline
    while true {
      do throws(BlockError) {
        let held = try HeldFile(row.store, isShared: false)
        guard fdatasync(held.descriptor.raw) == 0 else {
          throw BlockError(errno: Errno(rawValue: errno), step: "flush", object: row.store)
        }
        return
      } catch  where error.kind == .busy && clock.now < end {
        try await clock.pause(for: .milliseconds(2))
      }
    }
  }
}
