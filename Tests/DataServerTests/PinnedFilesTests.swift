import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

import DataServer

/// What a data server opens anew is what was served, or it is refused with its name.
@Suite struct PinnedFilesTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func order() throws -> ServerOrder {
    ServerOrder(
      id: try AttachmentID("a"), exportName: "ashlar-a-1",
      spec: AttachmentSpec(
        scheme: nil, path: "/", configuration: nil, transport: .tcmu, isReadOnly: false), queueCount: 1,
      start: .takeOver, byteCount: 0)
  }

  private func files(_ pin: ImagePin? = nil, _ failure: FlushFailure? = nil) throws -> PinnedFiles {
    var order = try order()
    order.pin = pin
    order.flushFailure = failure
    return PinnedFiles(LinuxFileSystem(), for: order, onChange: {})
  }

  private func pin(_ path: String, _ access: FileAccess) async throws -> ImagePin {
    let files = try files()
    _ = try await files.open(path, for: access)
    return files.pin(layers: [], VolumeGeometry(byteCount: 4096, isReadOnly: access == .readOnly))
  }

  private func problem(_ pin: ImagePin, _ path: String, _ access: FileAccess) async throws -> String? {
    let files = try files(pin)
    do throws(BlockError) {
      _ = try await files.open(path, for: access)
      return nil
    } catch {
      #expect(error.kind == .conflict && error.object == path)
      return error.cause
    }
  }

  private func replace(_ path: String, _ bytes: [UInt8]) throws {
    let other = try scratch.write("other", bytes)
    #expect(rename(other, path) == 0)
  }

  @Test func aLayerMustBeTheSameInEverything() async throws {
    let path = try scratch.write("layer", [UInt8](repeating: 1, count: 4096))
    let pin = try await pin(path, .readOnly)
    #expect(try await problem(pin, path, .readOnly) == nil)
    // The same file with another time.
    var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
    #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
    #expect(try await problem(pin, path, .readOnly)?.contains("modified at 1.000000000 instead of") == true)
    try replace(path, [UInt8](repeating: 1, count: 4096))
    #expect(try await problem(pin, path, .readOnly)?.contains("inode") == true)
  }

  @Test(arguments: [FileAccess.readWrite, .sharedReadWrite])
  func aFileThatIsWrittenToMayChangeAndGrow(access: FileAccess) async throws {
    let path = try scratch.write("disk", [UInt8](repeating: 1, count: 4096))
    let pin = try await pin(path, access)
    let handle = try FileHandle(forWritingTo: URL(filePath: path))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data(repeating: 2, count: 4096))
    try handle.close()
    #expect(try await problem(pin, path, access) == nil)
    #expect(truncate(path, 512) == 0)
    #expect(try await problem(pin, path, access)?.contains("512 bytes instead of 4096") == true)
    try replace(path, [UInt8](repeating: 1, count: 8192))
    #expect(try await problem(pin, path, access)?.contains("inode") == true)
  }

  /// To a raw disk that is only read somebody else may write.
  @Test func aRawDiskThatIsReadMayChange() async throws {
    let path = try scratch.write("disk", [UInt8](repeating: 1, count: 4096))
    let files = try files()
    _ = try await files.open(path, for: .readOnly)
    var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
    #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
    // Also between two openings of the same attach, where it is no other image.
    _ = try await files.open(path, for: .readOnly)
    #expect(throws: BlockError.self) { try files.settle(isRaw: false) }
    try files.settle(isRaw: true)
    let pin = files.pin(layers: [], VolumeGeometry(byteCount: 4096, isReadOnly: true))
    #expect(pin.files.map(\.role) == [.shared])
    times[1].tv_sec = 2
    #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
    #expect(try await problem(pin, path, .readOnly) == nil && pin.replacement() == nil)
    #expect(truncate(path, 512) == 0)
    #expect(try await problem(pin, path, .readOnly)?.contains("512 bytes instead of 4096") == true)
    try replace(path, [UInt8](repeating: 1, count: 4096))
    #expect(try await problem(pin, path, .readOnly)?.contains("inode") == true)
  }

  /// What was attached by a release that pinned nothing has the size and the layers that it had.
  @Test func whatWasNeverPinnedHasItsSizeAndLayers() throws {
    var order = try order()
    let pin = ImagePin(files: [], layers: [], disk: .init(byteCount: 4096, isReadOnly: true))
    try order.check(pin, layers: 1)
    order.byteCount = 8192
    #expect(throws: BlockError.self) { try order.check(pin, layers: 1) }
    order.byteCount = 4096
    order.layers = 2
    #expect(throws: BlockError.self) { try order.check(pin, layers: 1) }
    try order.check(pin, layers: 2)
    // What nobody has served yet is compared with nothing.
    order.start = .fresh
    try order.check(pin, layers: 1)
  }

  /// The path is the same, and so is the link at it; what it leads to is another file.
  @Test func aLinkThatLeadsElsewhere() async throws {
    let one = try scratch.write("one", [UInt8](repeating: 1, count: 4096))
    let two = try scratch.write("two", [UInt8](repeating: 1, count: 4096))
    let link = scratch("link")
    #expect(symlink(one, link) == 0)
    let pin = try await pin(link, .readOnly)
    #expect(unlink(link) == 0 && symlink(two, link) == 0)
    #expect(try await problem(pin, link, .readOnly)?.contains("inode") == true)
  }

  /// A configuration may be written anew, but not changed.
  @Test func aConfigurationIsItsContent() async throws {
    let path = try scratch.write("config.v1.json", text: "{}")
    let first = try files()
    _ = try await first.open(path, for: .readOnly)
    _ = try await first.contents(of: path, limit: 100)
    let pin = first.pin(layers: [], VolumeGeometry(byteCount: 4096, isReadOnly: true))
    #expect(pin.files.map(\.role) == [.configuration])
    try replace(path, Array("{}".utf8))
    _ = try await files(pin).contents(of: path, limit: 100)
    try scratch.write("config.v1.json", text: "{ }")
    _ = try await files(pin).open(path, for: .readOnly)
    let error = await #expect(throws: BlockError.self) { try await files(pin).contents(of: path, limit: 100) }
    #expect(error?.object == path && error?.cause.contains("sha256:") == true)
  }

  @Test func aFileThatWasNotServedIsRefused() async throws {
    let path = try scratch.write("layer", [UInt8](repeating: 1, count: 4096))
    let other = try scratch.write("another", [UInt8](repeating: 1, count: 4096))
    var pin = try await pin(path, .readOnly)
    #expect(try await problem(pin, other, .readOnly)?.contains("not among the files") == true)
    // Another release may have noted less.
    pin.version += 1
    #expect(try await problem(pin, other, .readOnly) == nil)
  }

  /// Nobody was told of it but the file beside the socket.
  @Test func aFailedFlushIsReadFromItsRecord() async throws {
    let path = try scratch.write("disk", [UInt8](repeating: 1, count: 4096))
    let record = FlushRecord(beside: scratch("abc.sock"))
    let failure = FlushFailure(file: path, happenedAt: 7, cause: "Input/output error")
    try record.write(failure)
    try record.write(FlushFailure(file: path, happenedAt: 8, cause: "a later one"))
    let files = PinnedFiles(LinuxFileSystem(), for: try order(), record: record, onChange: {})
    let file = try await files.open(path, for: .readWrite)
    #expect(files.flushFailure == failure)
    await #expect(throws: BlockError.self) { try await file.synchronize() }
    try files.resetFlushFailure()
    try await file.synchronize()
    #expect(try record.read() == nil)
    // What cannot be written down is reported, and fails nothing.
    #expect(FlushRecord(beside: scratch("none/abc.sock")).path == scratch("none/abc.flush"))
    #expect(throws: BlockError.self) { try FlushRecord(beside: scratch("none/abc.sock")).write(failure) }
  }

  @Test(arguments: [FileAccess.readWrite, .sharedReadWrite])
  func aFailedFlushIsHandedDownAndReset(access: FileAccess) async throws {
    let path = try scratch.write("disk", [UInt8](repeating: 1, count: 4096))
    let failure = FlushFailure(file: path, happenedAt: 7, cause: "Input/output error")
    let files = try files(nil, failure)
    let file = try await files.open(path, for: access)
    #expect(files.flushFailure == failure)
    let error = await #expect(throws: BlockError.self) { try await file.synchronize() }
    #expect(error?.kind == .ioError && error?.cause.contains("earlier flush") == true)
    try files.resetFlushFailure()
    try await file.synchronize()
    #expect(files.flushFailure == nil)
  }

  /// A record that is there says that a flush has failed, also if nobody can read which.
  @Test func aRecordThatCannotBeReadIsAFailure() async throws {
    let path = try scratch.write("disk.img", [UInt8](repeating: 0, count: 4096))
    try scratch.write("server.flush", text: "{")
    var order = try order()
    order.spec.path = path
    let files = PinnedFiles(
      LinuxFileSystem(), for: order, record: FlushRecord(beside: scratch("server.sock")), onChange: {})
    let file = try await files.open(path, for: .readWrite)
    let error = await #expect(throws: BlockError.self) { try await file.synchronize() }
    #expect(error?.cause.contains("cannot be read") == true, "\(error?.cause ?? "")")
  }
}
