import BlockCore
import LinuxIO
import Synchronization

/// The header volumes of a host, for a program that does many things at once: what `ashlar volume` does, with progress
/// and cancellation.
///
/// ```swift
/// let volumes = Volumes(clock: LinuxClock())
/// _ = try await volumes.format(.init(volume: "/dev/sdb", image: "/images/root.img"))
/// let mapped = try await volumes.map(.init(name: "virtlet-dm-one", volume: "/dev/sdb"))
/// ```
///
/// The functions may be called from any task; what waits for a disk does so on threads of their own. Nothing is kept
/// here that the volumes do not say themselves, so that another process may do the same at the same time.
public final class Volumes: Sendable {
  private struct Work {
    let progress: Progress
    let cancel: @Sendable () -> Void
  }

  private let clock: any HostClock
  private let executor = BlockingExecutor(label: "ashlar volumes")
  /// What is being formatted, by the volume's resolved path.
  private let works = Mutex<[String: Work]>([:])

  /// Makes the volumes of a host; nothing is opened before it is needed.
  public init(clock: any HostClock) {
    self.clock = clock
  }

  /// Whether a volume is being formatted.
  public var isActive: Bool { works.withLock { !$0.isEmpty } }

  /// The mapped volumes, also those that others have mapped, in the order of the kernel's list.
  ///
  /// - Throws: `unavailable` without device-mapper; others by errno.
  public func list() async throws(BlockError) -> [VolumeSummary] {
    try await executor.run { [clock] () async throws(BlockError) in
      try await VolumeMapper(clock: clock).list().map(VolumeSummary.init)
    }
  }

  /// What a device says of itself, and how far its formatting is, if this object does that.
  ///
  /// - Parameter path: The volume's absolute path.
  /// - Throws: `invalidArgument` for a relative path, `notFound`, what reading throws.
  public func check(_ path: String) async throws(BlockError) -> VolumeSummary {
    try Self.checkPath(path, "check")
    return try await executor.run { [self] () async throws(BlockError) in
      let volume = try HeaderVolume(path)
      let progress = works.withLock { $0[volume.path]?.progress }
      var summary = try await VolumeSummary(volume, readsContent: progress == nil)
      if let progress {
        let (done, total) = progress.bytes
        summary.work = .init(done: done, total: total)
      }
      return summary
    }
  }

  /// Writes an image to a volume, and in front of it which one it is.
  ///
  /// It goes on if the caller withdraws; ``cancelFormat(of:)`` calls it off.
  ///
  /// - Throws: As ``HeaderVolume/format(image:_:expect:advance:)``; `invalidArgument` for a relative path.
  public func format(_ request: VolumeFormatRequest) async throws(BlockError) -> VolumeSummary {
    try Self.checkPath(request.volume, "format")
    try Self.checkPath(request.image, "read")
    let options = try VolumeSummary.options(
      layout: request.layout, sha256: request.sha256, isForced: request.force ?? false,
      takesContainers: request.rawBytes ?? false)
    let path = try LinuxFileSystem().resolve(request.volume)
    let task = works.withLock { works -> Task<Result<VolumeSummary, BlockError>, Never>? in
      guard works[path] == nil else { return nil }
      let progress = Progress()
      let task = executor.start { () async throws(BlockError) in
        let volume = try HeaderVolume(path)
        let result = try await volume.format(
          image: request.image, options, expect: { progress.expect($0) },
          advance: { progress.advance(by: $0) })
        return VolumeSummary(volume, result)
      }
      works[path] = Work(progress: progress, cancel: { task.cancel() })
      return task
    }
    guard let task else {
      throw BlockError(
        .busy, step: "format", object: path, cause: "it is being formatted",
        remedy: "Wait until that is done, or call it off.")
    }
    defer { works.withLock { $0[path] = nil } }
    return try await task.value.get()
  }

  /// Calls a formatting off; the volume says that it is incomplete then.
  ///
  /// - Parameter path: The volume's absolute path.
  /// - Returns: Whether there was one.
  /// - Throws: `notFound` if there is no such volume.
  public func cancelFormat(of path: String) throws(BlockError) -> Bool {
    let resolved = try LinuxFileSystem().resolve(path)
    guard let work = works.withLock({ $0[resolved] }) else { return false }
    work.cancel()
    return true
  }

  /// Makes a device of a volume's content.
  ///
  /// - Throws: As ``VolumeMapper/map(_:_:isUnconfirmedTaken:)``; `invalidArgument` for a relative path.
  public func map(_ request: VolumeMapRequest) async throws(BlockError) -> VolumeSummary {
    try VolumeMapper.checkNew(request.name)
    try Self.checkPath(request.volume, "map")
    return try await executor.run { [clock] () async throws(BlockError) in
      let made = try await VolumeMapper(clock: clock).map(
        request.name, try HeaderVolume(request.volume), isUnconfirmedTaken: !(request.confirmed ?? false))
      return VolumeSummary(made)
    }
  }

  /// Takes a mapped volume apart.
  ///
  /// - Throws: As ``VolumeMapper/unmap(_:isForced:)``.
  public func unmap(_ name: String, isForced: Bool) async throws(BlockError) {
    try VolumeMapper.check(name)
    try await executor.run { [clock] () async throws(BlockError) in
      try await VolumeMapper(clock: clock).unmap(name, isForced: isForced)
    }
  }

  private static func checkPath(_ path: String, _ step: String) throws(BlockError) {
    guard path.hasPrefix("/"), !path.utf8.contains(0) else {
      throw BlockError(
        .invalidArgument, step: step, object: "\"\(path.prefix(80))\"", cause: "it is no absolute path",
        remedy: "Write the path from / on.")
    }
  }
}
