import Attachments
import BlockCore
import Hashing
import LinuxIO
import Synchronization

/// The files of a host, as an image that is to be served opens them: it notes what each of them was, and refuses one that
/// is not what was served before.
///
/// What is noted comes from the descriptor that is open, not from a second walk along the path.
package final class PinnedFiles: FileSystem {
  private struct Entry {
    var file: ImagePin.File
    /// The file that is written to: its size is what it is now.
    var open: (any BlockFile)?
    /// How it changed while the image was opened, which only a raw disk may.
    var change: String?
  }

  private let base: any FileSystem
  private let served: ImagePin?
  private let lostFlush: FlushFailure?
  private let record: FlushRecord?
  private let onFlushFailure: @Sendable (FlushFailure) -> Void
  /// By the bytes of the path: to Swift, texts that look the same are equal.
  private let entries = Mutex<[[UInt8]: Entry]>([:])

  /// Makes a view of a host's files.
  ///
  /// - Parameters:
  ///   - base: The host's.
  ///   - order: What an earlier data server has served, if one has, and the flush that failed in it.
  ///   - record: Where a flush that fails is written down before whoever has asked for it is told; `nil` for nowhere.
  ///   - onReport: Called, on any thread, with what a log should hold.
  ///   - onChange: Told, on any thread, that a flush has failed.
  package init(
    _ base: any FileSystem, for order: ServerOrder, record: FlushRecord? = nil,
    onReport: @escaping @Sendable (String) -> Void = { _ in }, onChange: @escaping @Sendable () -> Void
  ) {
    self.base = base
    self.record = record
    served = order.pin
    onFlushFailure = { failure in
      do throws(BlockError) {
        try record?.write(failure)
      } catch {
        onReport("that a flush failed is not written down, and forgotten if this process dies: \(error)")
      }
      onChange()
    }
    guard order.flushFailure == nil, order.start != .fresh else {
      lostFlush = order.flushFailure
      return
    }
    do throws(BlockError) {
      lostFlush = try record?.read()
    } catch {
      // It is there: a flush has failed.
      onReport("which flush has failed before is not known: \(error)")
      lostFlush = FlushFailure(
        file: order.spec.path, happenedAt: Double(LinuxClock().sinceEpoch.components.seconds),
        cause: "what was written down of it cannot be read: \(error.cause)")
    }
  }

  /// Whether an earlier data server has said what it serves.
  package var wasServed: Bool { served != nil }

  /// The host, with these files.
  package var services: HostServices {
    let host = HostServices.linux
    return HostServices(files: self, clock: host.clock, random: host.random)
  }

  /// What was opened.
  package func pin(layers: [ImagePin.Layer], _ geometry: VolumeGeometry) -> ImagePin {
    let files = entries.withLock { entries in
      entries.values.map { entry in
        var file = entry.file
        // An open file can be looked at; if not, what it was is as good.
        if let open = entry.open, let state = try? open.currentState() { file.state = state }
        return file
      }
    }
    return ImagePin(
      files: files.sorted { $0.path < $1.path }, layers: layers,
      disk: .init(byteCount: geometry.byteCount, isReadOnly: geometry.isReadOnly))
  }

  /// The first flush that has failed; `nil` if none has.
  package var flushFailure: FlushFailure? {
    entries.withLock { entries in
      entries.values.compactMap { $0.open?.flushes.failure }.min { $0.happenedAt < $1.happenedAt }
    }
  }

  /// Has flushes begin anew: somebody knows what was lost.
  ///
  /// - Throws: By errno, if what is written down of it cannot be removed; then all is as it was.
  package func resetFlushFailure() throws(BlockError) {
    // First: the next failure is written down anew.
    try record?.remove()
    entries.withLock { entries in
      for entry in entries.values { entry.open?.flushes.set(nil) }
    }
  }

  // MARK: Opening

  package func open(_ path: String, for access: FileAccess) async throws(BlockError) -> any BlockFile {
    let file = try await base.open(path, for: access)
    try note(path, file, access)
    return file
  }

  package func create(_ path: String, byteCount: UInt64) async throws(BlockError) -> any BlockFile {
    let file = try await base.create(path, byteCount: byteCount)
    try note(path, file, .readWrite)
    return file
  }

  package func contents(of path: String, limit: Int) async throws(BlockError) -> [UInt8] {
    let bytes = try await base.contents(of: path, limit: limit)
    let digest = try SHA256.digest(of: bytes.span.bytes).description
    let state = entries.withLock { $0[Array(path.utf8)]?.file.state }
    let found = ImagePin.File(
      path: path, role: .configuration,
      state: state ?? FileState(device: 0, inode: 0, byteCount: UInt64(bytes.count), modified: 0),
      sha256: digest)
    if let difference = served?.file(path)?.difference(to: found.state, sha256: digest) {
      throw ImagePin.changed(path, difference)
    }
    entries.withLock { $0[Array(path.utf8)] = Entry(file: found) }
    return bytes
  }

  private func note(_ path: String, _ file: any BlockFile, _ access: FileAccess) throws(BlockError) {
    let isWritable = access != .readOnly
    let state = try file.currentState()
    if let served {
      guard let known = served.file(path) else {
        if served.version != ImagePin.currentVersion { return try add(path, file, state, isWritable) }
        throw ImagePin.changed(path, "it was not among the files that were served")
      }
      // A configuration is opened to be recognised, and read later.
      if known.role != .configuration, let difference = known.difference(to: state, sha256: nil) {
        throw ImagePin.changed(path, difference)
      }
    }
    try add(path, file, state, isWritable)
  }

  private func add(
    _ path: String, _ file: any BlockFile, _ state: FileState, _ isWritable: Bool
  ) throws(BlockError) {
    if isWritable {
      if let lostFlush, lostFlush.file.utf8.elementsEqual(path.utf8) { file.flushes.set(lostFlush) }
      file.flushes.observe(onFlushFailure)
    }
    let entry = Entry(
      file: .init(path: path, role: isWritable ? .writable : .constant, state: state),
      open: isWritable ? file : nil)
    let key = Array(path.utf8)
    // One image may name a file twice, and opens it to recognise it.
    let difference = entries.withLock { entries -> String? in
      guard let before = entries[key]?.file else {
        entries[key] = entry
        return nil
      }
      if before.role == .configuration { return nil }
      if isWritable { entries[key] = entry }
      if isWritable || before.role == .writable {
        return state.difference(from: before.state, isWritable: true)
      }
      entries[key]?.change = state.difference(from: before.state, isWritable: false)
      return state.difference(from: before.state, isWritable: true)
    }
    if let difference { throw Self.changing(path, difference) }
  }

  /// Says what kind of image has been opened: to a raw disk that is only read others may write.
  ///
  /// - Throws: `busy` if another image changed while it was opened.
  package func settle(isRaw: Bool) throws(BlockError) {
    let changed = entries.withLock { entries -> (path: String, change: String)? in
      for (key, entry) in entries where entry.file.role == .constant {
        if isRaw {
          entries[key]?.file.role = .shared
        } else if let change = entry.change {
          return (entry.file.path, change)
        }
      }
      return nil
    }
    if let changed { throw Self.changing(changed.path, changed.change) }
  }

  private static func changing(_ path: String, _ difference: String) -> BlockError {
    BlockError(
      .busy, step: "open", object: path,
      cause: "it was replaced or changed while the image was opened: \(difference)",
      remedy: "Try again when nobody changes it.")
  }

  // MARK: What needs no note

  package func resolve(_ path: String) throws(BlockError) -> String { try base.resolve(path) }

  package func exists(_ path: String) -> Bool { base.exists(path) }

  package func kind(of path: String) throws(BlockError) -> FileKind? { try base.kind(of: path) }

  package func checkIsUnused(_ path: String) throws(BlockError) { try base.checkIsUnused(path) }

  package func rename(_ path: String, to target: String, replaces: Bool) async throws(BlockError) {
    try await base.rename(path, to: target, replaces: replaces)
  }

  package func remove(_ path: String) throws(BlockError) { try base.remove(path) }

  package func writeResultFile(
    _ path: String, _ bytes: [UInt8], sparing spared: Set<FileIdentity>
  ) async throws(BlockError) {
    try await base.writeResultFile(path, bytes, sparing: spared)
  }

  package func identity(of path: String) -> FileIdentity? { base.identity(of: path) }
}
