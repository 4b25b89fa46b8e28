import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

@Suite struct LinuxFileTests {
  /// A scratch file on a disk, and one in memory: the two answer RWF_NOWAIT differently.
  static let directories = ["/tmp", "/dev/shm"]

  private func path(_ directory: String) -> String { "\(directory)/ashlar-test-\(UUID().uuidString)" }

  @Test(arguments: directories)
  func readsAndWritesEverywhere(directory: String) async throws {
    let path = path(directory)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let files = LinuxFileSystem()
    let file = try await files.create(path, byteCount: 1 << 20)
    let content = OpsScript.content("rand", 3, 100_000)
    try await file.write(at: 5000, from: content.span.bytes, isDurable: true)
    #expect(try await file.bytes(at: 5000, byteCount: content.count, using: Workspace()) == content)
    let outcome = try file.writeNow(at: 0, from: content.span.bytes.extracting(0..<512))
    #expect(outcome == .done)
    try await file.synchronize()
    let again = try await files.open(path, for: .readOnly)
    #expect(try await again.bytes(at: 0, byteCount: 512, using: Workspace()) == Array(content[..<512]))
    #expect(again.identity == file.identity && !again.isWritable)
    await #expect(throws: BlockError.self) {
      try await again.write(at: 0, from: content.span.bytes, isDurable: false)
    }
    await #expect(throws: BlockError.self) { try await files.create(path, byteCount: 1) }
  }

  @Test(arguments: directories)
  func punchesHolesAndZeroes(directory: String) async throws {
    let path = path(directory)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let file = try await LinuxFileSystem().create(path, byteCount: 256 << 10)
    let content = [UInt8](repeating: 7, count: 256 << 10)
    try await file.write(at: 0, from: content.span.bytes, isDurable: false)
    #expect(try await file.dataExtents(from: 0) == [0..<256 << 10])
    try await file.punchHole(64 << 10..<128 << 10)
    #expect(try await file.dataExtents(from: 0) == [0..<64 << 10, 128 << 10..<256 << 10])
    try await file.zero(8192..<16384)
    let read = try await file.bytes(at: 0, byteCount: 256 << 10, using: Workspace())
    for (position, byte) in read.enumerated() {
      let isZero = (8192..<16384).contains(position) || (64 << 10..<128 << 10).contains(position)
      #expect(byte == (isZero ? 0 : 7), "byte \(position)")
      if byte != (isZero ? 0 : 7) { break }
    }
  }

  /// Reading a mapped file whose end has gone raises SIGBUS in anybody else.
  @Test(arguments: directories)
  func aFileCutShortIsAnErrorAndNoCrash(directory: String) async throws {
    let path = path(directory)
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(repeating: 5, count: 1 << 20).write(to: URL(filePath: path))
    let file = try LinuxFile(path, for: .readOnly)
    let workspace = Workspace()
    for _ in 0..<2 { _ = try await file.bytes(at: 0, byteCount: 1 << 20, using: workspace) }
    #expect(truncate(path, 4096) == 0)
    #expect(try await file.bytes(at: 0, byteCount: 4096, using: workspace).allSatisfy { $0 == 5 })
    for offset in [8192, 500_000, (1 << 20) - 512] as [UInt64] {
      let error = await #expect(throws: BlockError.self) {
        try await file.bytes(at: offset, byteCount: 512, using: workspace)
      }
      #expect(error?.kind == .ioError && error?.object == path)
    }
    // In the middle of a copy that has begun well.
    await #expect(throws: BlockError.self) {
      try await file.bytes(at: 0, byteCount: 1 << 20, using: workspace)
    }
  }

  @Test func refusesWhatIsNoFile() async throws {
    let scratch = try Scratch()
    let fifo = scratch("fifo")
    #expect(mkfifo(fifo, 0o600) == 0)
    for (path, kind) in [
      (scratch.path, BlockError.Kind.invalidArgument), (fifo, .invalidArgument),
      ("/dev/null", .invalidArgument),
      (scratch("none"), .notFound), (scratch("none/below"), .notFound),
    ] {
      let error = #expect(throws: BlockError.self) { try LinuxFile(path, for: .readOnly) }
      #expect(error?.kind == kind, "\(path)")
    }
  }

  @Test func readsBeyondTheEndAreErrors() async throws {
    let scratch = try Scratch()
    let file = try LinuxFile(try scratch.write("f", [UInt8](repeating: 1, count: 1000)), for: .readOnly)
    #expect(try await file.bytes(at: 1000, byteCount: 0, using: Workspace()) == [])
    for (offset, count) in [(999, 2), (1000, 1), (UInt64.max, 1), (UInt64.max - 1, 512)] as [(UInt64, Int)] {
      await #expect(throws: BlockError.self) {
        try await file.bytes(at: offset, byteCount: count, using: Workspace())
      }
    }
  }

  /// Pages prove themselves by a read that must not wait; then they are copied without a system call.
  @Test func cachedPagesAreServedAtOnce() throws {
    let scratch = try Scratch()
    let content = OpsScript.content("rand", 1, 1 << 20)
    let file = try LinuxFile(try scratch.write("f", content), for: .readOnly)
    let workspace = Workspace()
    var buffer = [UInt8](repeating: 0, count: 4096)
    for offset in stride(from: 0, to: (1 << 20) - 4096, by: 1024) {
      for _ in 0..<2 {
        var span = buffer.mutableSpan
        var raw = span.mutableBytes
        let outcome = try file.readNow(at: UInt64(offset), into: &raw, using: workspace)
        #expect(outcome == .done)
        #expect(buffer == Array(content[offset..<offset + 4096]))
      }
    }
  }

  /// A page that was dropped from the cache is read again, with or without the map's knowledge.
  @Test func droppedPagesComeBack() async throws {
    let scratch = try Scratch()
    let content = OpsScript.content("rand", 2, 4 << 20)
    let path = try scratch.write("f", content)
    let file = try LinuxFile(path, for: .readOnly)
    try await file.synchronize()
    let workspace = Workspace()
    for _ in 0..<3 {
      _ = try await file.bytes(at: 0, byteCount: content.count, using: workspace)
      let descriptor = try Descriptor.open(path, O_RDONLY)
      fsync(descriptor.raw)
      posix_fadvise(descriptor.raw, 0, 0, POSIX_FADV_DONTNEED)
      for offset in stride(from: 0, to: content.count, by: 65536) {
        #expect(
          try await file.bytes(at: UInt64(offset), byteCount: 4096, using: workspace)
            == Array(content[offset..<offset + 4096]))
      }
    }
  }
}
