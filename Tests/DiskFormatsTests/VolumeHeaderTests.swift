import BlockCore
import DiskFormats
import Foundation
import Hashing
import LinuxIO
import TestKit
import Testing
import Volumes

/// The header of a volume: the layout byte for byte, and virtlet's own cases.
@Suite struct VolumeHeaderTests {
  /// What the described layout says, read by itself: magic, version, digest.
  private func independentReader(_ bytes: [UInt8]) -> (version: Int, digest: String)? {
    guard bytes.prefix(8).elementsEqual([0x26, 0x3D, 0xBE, 0x52, 0xBA, 0x57, 0x67, 0x02]) else { return nil }
    let digest = bytes[10..<42].map { String(format: "%02x", $0) }.joined()
    return (Int(bytes[8]) << 8 | Int(bytes[9]), digest)
  }

  private func sum(_ path: String) throws -> String {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/sha256sum")
    process.arguments = [path]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return String(text.prefix(64))
  }

  @Test func theHeaderIsVirtletsByteForByte() throws {
    let header = VolumeHeader(image: Digest256([UInt8](0..<32)))
    let expected: [UInt8] = [0x26, 0x3D, 0xBE, 0x52, 0xBA, 0x57, 0x67, 0x02, 0x00, 0x01] + [UInt8](0..<32)
    #expect(header.encoded == expected)
    #expect(VolumeHeader(expected) == header)
    #expect(VolumeHeader(Array(expected.dropLast())) == nil)
    for index in 0..<8 {
      var other = expected
      other[index] ^= 1
      #expect(VolumeHeader(other) == nil)
    }
    var later = expected
    later[8] = 1
    #expect(VolumeHeader(later)?.version == 0x101)
  }

  /// virtlet's TestDevHeader: device size, contents in turn, and whether each was there already.
  @Test(arguments: [
    (8704, [8192, 8192], [false, true]), (16384, [8192, 8193], [false, false]), (4096, [4096], []),
    (8704, [8192, 8704], [false]),
  ])
  func theCasesOfVirtlet(deviceByteCount: Int, imageByteCounts: [Int], expected: [Bool]) async throws {
    let scratch = try Scratch()
    let path = try scratch.write("device", [UInt8](repeating: 0, count: deviceByteCount))
    var outcomes: [Bool] = []
    for (number, count) in imageByteCounts.enumerated() {
      let content = imageByteCounts.count > 1 && imageByteCounts[0] == imageByteCounts[1] ? 7 : number + 1
      let image = try scratch.write("image", [UInt8](repeating: UInt8(content), count: count))
      do {
        let result = try await HeaderVolume(path).format(image: image, .init())
        outcomes.append(result.wasThere)
        let bytes = try scratch.bytes("device")
        let read = try #require(independentReader(bytes))
        #expect(read.version == 1)
        #expect(try read.digest == sum(image))
        #expect(bytes[512..<512 + count].allSatisfy { $0 == UInt8(content) })
        #expect(bytes[(512 + count)...].allSatisfy { $0 == 0 })
      } catch let error as BlockError {
        #expect(
          error.kind == .noSpace
            && error.cause.hasPrefix("block device too small for the image: need at least"))
      }
    }
    #expect(outcomes == expected)
  }

  @Test func aLaterVersionIsNeverOverwritten() async throws {
    let scratch = try Scratch()
    var device = VolumeHeader(image: Digest256([UInt8](repeating: 3, count: 32))).encoded
    device[9] = 2
    device += [UInt8](repeating: 9, count: 65536 - device.count)
    let path = try scratch.write("device", device)
    let image = try scratch.write("image", text: "another image")
    for isForced in [false, true] {
      let error = await #expect(throws: BlockError.self) {
        try await HeaderVolume(path).format(image: image, .init(isForced: isForced))
      }
      #expect(error?.kind == .unsupported)
      #expect(error?.cause == "unsupported virtlet root device metadata version 2")
    }
    #expect(try scratch.bytes("device") == device)
  }

  @Test func aVolumeWhoseImageWasInterruptedIsIncomplete() async throws {
    let scratch = try Scratch()
    let path = try scratch.write("device", [UInt8](repeating: 0, count: 4 << 20))
    let image = try scratch.write("image", (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 / 4096) })
    // Called off when the first part has been written: the digest comes first, then the copy.
    let begun = AsyncStream<UInt64>.makeStream()
    let task = Task {
      try await HeaderVolume(path).format(image: image, .init(), advance: { begun.continuation.yield($0) })
    }
    var steps = 0
    for await _ in begun.stream {
      steps += 1
      if steps == 4 {
        task.cancel()
        break
      }
    }
    let outcome = await task.result
    let content = try await HeaderVolume(path).content()
    if case .failure(let error as BlockError) = outcome {
      #expect(error.kind == .cancelled)
      guard case .incomplete = content.state else {
        Issue.record("it is \(content.state)")
        return
      }
      // Nor does virtlet take it for whole.
      #expect(independentReader(try scratch.bytes("device")) == nil)
    }
    let again = try await HeaderVolume(path).format(image: image, .init())
    #expect(try await HeaderVolume(path).examine().state == .complete(again.image))
  }

  @Test func aHeaderOfVirtletIsHeldAgainstTheContent() async throws {
    let scratch = try Scratch()
    let image = try scratch.write("image", [UInt8](repeating: 5, count: 8192))
    let digest = try #require(Digest256(try sum(image)))
    // The header is there, the image is not: what virtlet leaves when it dies while it copies.
    var device = VolumeHeader(image: digest).encoded
    device += [UInt8](repeating: 0, count: 16384 - device.count)
    let path = try scratch.write("device", device)
    #expect(try await HeaderVolume(path).content().state == .unconfirmed(digest))
    // It may as well be the disk of a virtual machine that has written to it since: only force overwrites it.
    let kept = try await HeaderVolume(path).format(image: image, .init())
    #expect(kept.outcome == .kept && kept.wasThere)
    #expect(try scratch.bytes("device") == device)
    #expect(try await HeaderVolume(path).format(image: image, .init(isForced: true)).outcome == .written)
    // And where it is there, nothing is written but our note.
    device.replaceSubrange(512..<512 + 8192, with: [UInt8](repeating: 5, count: 8192))
    try scratch.write("device", device)
    #expect(try await HeaderVolume(path).format(image: image, .init()).wasThere)
    #expect(try await HeaderVolume(path).examine().state == .complete(digest))
    #expect(Array(try scratch.bytes("device")[512...]) == Array(device[512...]))
    // What virtlet writes afterwards is not taken for ours.
    var other = try scratch.bytes("device")
    other.replaceSubrange(10..<42, with: [UInt8](repeating: 1, count: 32))
    try scratch.write("device", other)
    #expect(
      try await HeaderVolume(path).content().state
        == .unconfirmed(Digest256([UInt8](repeating: 1, count: 32))))
  }

  /// The case of virtlet: an image that was asked for again, and what the virtual machine has written since.
  @Test func aVolumeOfThatImageIsKept() async throws {
    let scratch = try Scratch()
    let image = try scratch.write("image", [UInt8](repeating: 5, count: 8192))
    let path = try scratch.write("device", [UInt8](repeating: 0, count: 16384))
    #expect(try await HeaderVolume(path).format(image: image, .init()).outcome == .written)
    #expect(try await HeaderVolume(path).format(image: image, .init()).outcome == .there)
    var device = try scratch.bytes("device")
    device.replaceSubrange(4608..<4613, with: Array("GUEST".utf8))
    try scratch.write("device", device)
    let result = try await HeaderVolume(path).format(image: image, .init())
    #expect(result.outcome == .kept)
    #expect(VolumeSummary(try HeaderVolume(path), result).kept == true)
    #expect(try await HeaderVolume(path).examine().state == .changed(result.image))
    let moved = await #expect(throws: BlockError.self) {
      try await HeaderVolume(path).format(image: image, .init(layout: .aligned))
    }
    #expect(moved?.kind == .noSpace)
    #expect(try scratch.bytes("device") == device)
    // Over HTTP it is the same code.
    let over = try await Volumes(clock: LinuxClock()).format(.init(volume: path, image: image))
    #expect(over.kept == true && over.wasThere == true && over.state == "changed")
    #expect(try scratch.bytes("device") == device)
    #expect(try await HeaderVolume(path).format(image: image, .init(isForced: true)).outcome == .written)
  }

  /// Another layout of the same image would overwrite what became of it, too.
  @Test func anotherLayoutNeedsForce() async throws {
    let scratch = try Scratch()
    let image = try scratch.write("image", [UInt8](repeating: 5, count: 8192))
    let path = try scratch.write("device", [UInt8](repeating: 0, count: 2 << 20))
    _ = try await HeaderVolume(path).format(image: image, .init())
    let error = await #expect(throws: BlockError.self) {
      try await HeaderVolume(path).format(image: image, .init(layout: .aligned))
    }
    #expect(error?.kind == .conflict)
    #expect(
      try await HeaderVolume(path).format(image: image, .init(layout: .aligned, isForced: true)).layout
        == .aligned)
  }

  /// Ours with A, virtlet's with B, and virtlet's with A again, which dies behind the header.
  @Test func completeIsSaidOfWhatWasRead() async throws {
    let scratch = try Scratch()
    let image = try scratch.write("image", [UInt8](repeating: 5, count: 8192))
    let path = try scratch.write("device", [UInt8](repeating: 0, count: 16384))
    let a = try await HeaderVolume(path).format(image: image, .init()).image
    let note = try scratch.bytes("device")[64..<152]
    var device = try scratch.bytes("device")
    device.replaceSubrange(512..<8704, with: [UInt8](repeating: 6, count: 8192))
    try scratch.write("device", device)
    #expect(try await HeaderVolume(path).examine().state == .changed(a))
    #expect(try await HeaderVolume(path).format(image: image, .init()).outcome == .kept)
    // Whoever comes by while the header is B's takes the note away.
    let b = Digest256([UInt8](repeating: 1, count: 32))
    device.replaceSubrange(0..<42, with: VolumeHeader(image: b).encoded)
    try scratch.write("device", device)
    #expect(try await HeaderVolume(path).examine().state == .unconfirmed(b))
    #expect(try scratch.bytes("device")[64..<152].allSatisfy { $0 == 0 })
    // The rest is as it was.
    device.replaceSubrange(64..<152, with: [UInt8](repeating: 0, count: note.count))
    #expect(try scratch.bytes("device") == device)
  }

  @Test func anImageInAnotherFormatIsRefused() async throws {
    let scratch = try Scratch()
    let image = try scratch.write(
      "image", [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 3] + [UInt8](repeating: 0, count: 4088))
    let path = try scratch.write("device", [UInt8](repeating: 0, count: 16384))
    let error = await #expect(throws: BlockError.self) {
      try await HeaderVolume(path).format(image: image, .init())
    }
    #expect(error?.kind == .unsupported)
    #expect(error?.description.contains("qcow2") == true && error?.remedy?.contains("--raw-bytes") == true)
    #expect(try scratch.bytes("device").allSatisfy { $0 == 0 })
    #expect(
      try await HeaderVolume(path).format(image: image, .init(takesContainers: true)).outcome == .written)
  }

  @Test func namesHaveAsManyBytesAsTheKernelTakes() throws {
    for count in [1, 113, 114, 116] {
      let name = MappedVolume.namePrefix + String(repeating: "n", count: count)
      try VolumeMapper.check(name)
      #expect(try VolumeMapper.uuid(of: name).utf8.count <= 128)
    }
    let name = MappedVolume.namePrefix + String(repeating: "n", count: 117)
    let error = #expect(throws: BlockError.self) { try VolumeMapper.check(name) }
    #expect(error?.cause.contains("128 bytes") == true)
  }

  @Test func foreignContentAndWrongImagesAreRefused() async throws {
    let scratch = try Scratch()
    let path = try scratch.write("device", [UInt8](repeating: 0x11, count: 65536))
    let image = try scratch.write("image", text: "image")
    let foreign = await #expect(throws: BlockError.self) {
      try await HeaderVolume(path).format(image: image, .init())
    }
    #expect(foreign?.kind == .conflict)
    let wrong = await #expect(throws: BlockError.self) {
      try await HeaderVolume(path).format(
        image: image, .init(expected: Digest256([UInt8](repeating: 0, count: 32)), isForced: true))
    }
    #expect(wrong?.kind == .checksumMismatch)
    #expect(try scratch.bytes("device").allSatisfy { $0 == 0x11 })
    _ = try await HeaderVolume(path).format(image: image, .init(isForced: true))
    // Of what was there before, nothing is left behind the image.
    #expect(try scratch.bytes("device").dropFirst(517).allSatisfy { $0 == 0 })
    // What stands in the rest of sector 0 is not ours.
    #expect(try scratch.bytes("device")[42..<64].allSatisfy { $0 == 0x11 })
  }

  @Test func theAlignedLayoutSurvivesATornSector() async throws {
    let scratch = try Scratch()
    let path = try scratch.write("device", [UInt8](repeating: 0, count: 2 << 20))
    let image = try scratch.write("image", [UInt8](repeating: 4, count: 100_000))
    let result = try await HeaderVolume(path).format(image: image, .init(layout: .aligned))
    var device = try scratch.bytes("device")
    #expect(device[(1 << 20)..<(1 << 20) + 100_000].allSatisfy { $0 == 4 })
    device.replaceSubrange(70..<90, with: [UInt8](repeating: 0xFF, count: 20))
    try scratch.write("device", device)
    #expect(try await HeaderVolume(path).examine().state == .complete(result.image))
  }
}
