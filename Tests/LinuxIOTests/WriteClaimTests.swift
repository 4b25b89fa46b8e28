import BlockCore
import Foundation
import Glibc
import LinuxIO
import TestKit
import Testing

/// One writer at a time, through whatever name or device: with real loop devices, as root.
@Suite struct WriteClaimTests {
  private let scratch: Scratch
  private let path: String

  init() throws {
    scratch = try Scratch()
    path = scratch("disk.img")
    try Data(count: 4 << 20).write(to: URL(filePath: path))
  }

  private func loop(over path: String, isReadOnly: Bool = false) throws -> LoopDevice {
    try LoopDevice.attach(
      try Descriptor.open(path, isReadOnly ? O_RDONLY : O_RDWR),
      .init(isReadOnly: isReadOnly, blockSize: 512, label: "ashlar test", checksDirectIO: true))
  }

  /// Expects that a path is refused to a writer, with some words, and opens for a reader.
  private func expectBusy(
    _ path: String, _ words: String, for access: FileAccess = .readWrite,
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    do {
      _ = try LinuxFile(path, for: access)
      Issue.record("\(path) opens", sourceLocation: location)
    } catch {
      #expect(error.kind == .busy && "\(error)".contains(words), "\(error)", sourceLocation: location)
    }
    _ = try LinuxFile(path, for: .readOnly)
  }

  @Test func aFileThatALoopDeviceShowsIsThatDevices() throws {
    let link = scratch("link.img")
    try FileManager.default.linkItem(atPath: path, toPath: link)
    do {
      let device = try loop(over: path)
      for name in [path, link] { try expectBusy(name, device.path) }
      // Whatever it is called now.
      try FileManager.default.moveItem(atPath: path, toPath: scratch("moved.img"))
      try expectBusy(link, device.path)
      try FileManager.default.moveItem(atPath: scratch("moved.img"), toPath: path)
      let file = try LinuxFile(path, for: .sharedReadWrite)
      #expect(file.isWritable)
    }
    let reader = try loop(over: path, isReadOnly: true)
    _ = try LinuxFile(link, for: .readWrite)
    // One that is mounted, say, reads what is changed beneath it.
    let holder = try Descriptor.open(reader.path, O_RDONLY | O_EXCL)
    try expectBusy(path, reader.path)
    try holder.close(step: "close", object: reader.path)
    _ = try LinuxFile(path, for: .readWrite)
  }

  @Test func aLoopDeviceOverAFileThatIsWrittenIsThatFile() throws {
    let file = try LinuxFile(path, for: .readWrite)
    let device = try loop(over: path)
    for access in [FileAccess.readWrite, .sharedReadWrite] {
      try expectBusy(device.path, "shows \(path)", for: access)
    }
    // No path leads there any more.
    try FileManager.default.removeItem(atPath: path)
    try expectBusy(device.path, "somebody uses and has locked")
    withExtendedLifetime(file) {}
  }

  @Test func aDeviceHasOneWriter() throws {
    let device = try loop(over: path)
    do {
      let writer = try LinuxFile(device.path, for: .readWrite)
      #expect(BlockDevice.isClaimed(device.path))
      try expectBusy(device.path, "himself alone")
      try expectBusy(path, "locked it")
      withExtendedLifetime(writer) {}
    }
    #expect(!BlockDevice.isClaimed(device.path))
    _ = try LinuxFile(device.path, for: .readWrite)
  }

  /// The kernel empties dirty pages only for whoever has the device for himself.
  @Test func whatWasJustWrittenCanBeZeroedAndTrimmed() async throws {
    let below = try loop(over: path)
    try await expectZeroing(try LinuxFile(below.path, for: .readWrite))
    // A loop device over one that we have for ourselves is not the kernel's own user of it.
    let above = try loop(over: below.path)
    try await expectZeroing(try LinuxFile(above.path, for: .readWrite))
    let holder = try Descriptor.open(above.path, O_RDONLY | O_EXCL)
    try await expectZeroing(try LinuxFile(above.path, for: .sharedReadWrite))
    try holder.close(step: "close", object: above.path)
  }

  private func expectZeroing(_ file: LinuxFile) async throws {
    let ones = [UInt8](repeating: 1, count: 1 << 20)
    for empty in [file.zero, file.punchHole] {
      for _ in 0..<20 {
        try await file.write(at: 0, from: ones.span.bytes, isDurable: false)
        try await empty(4096..<(1 << 20) - 4096)
        let found = try await file.bytes(at: 0, byteCount: ones.count, using: Workspace())
        #expect(found.firstIndex(of: 0) == 4096 && found.lastIndex(of: 0) == (1 << 20) - 4097)
        #expect(!found[4096..<(1 << 20) - 4096].contains { $0 != 0 })
      }
    }
  }

  @Test func loopDevicesOverLoopDevicesAreSeen() throws {
    let below = try loop(over: path)
    let above = try loop(over: below.path)
    try expectBusy(below.path, above.path)
    let beside = try loop(over: path)
    try expectBusy(above.path, beside.path)
    let writer = try LinuxFile(above.path, for: .sharedReadWrite)
    try expectBusy(path, "locked it")
    #expect(
      try StorageStack(beneath: above.path).files.contains(try #require(LinuxFileSystem.identity(of: path))))
    withExtendedLifetime(writer) {}
  }
}
