import BlockCore
import BlockSim
import Foundation
import LinuxIO
import TestKit
import Testing

/// Copying parts of files with their holes, and holding the copy against them.
@Suite struct CopyingTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Random pages of data and zeros, copied in parts that begin and end anywhere.
  @Test func aCopyHasTheDataAndNoZeros() async throws {
    var random = SplitMix64(seed: Seed.of("aCopyHasTheDataAndNoZeros"))
    let page = Limits.pageSize
    for round in 0..<40 {
      let count = Int.random(in: 1...200_000, using: &random)
      var content = [UInt8](repeating: 0, count: count)
      for start in stride(from: 0, to: count, by: page) where Bool.random(using: &random) {
        content[Int.random(in: start..<min(start + page, count), using: &random)] = 1
      }
      let shift = Int.random(in: 0...3, using: &random) * page + Int.random(in: 0..<2, using: &random) * 512
      let source = try LinuxFile(scratch.write("source-\(round)", content), for: .readOnly)
      let target = try await LinuxFileSystem().create(
        scratch("target-\(round)"), byteCount: UInt64(shift + count))
      let middle = UInt64(Int.random(in: 0...count, using: &random))
      var written: UInt64 = 0
      for part in [0..<middle, middle..<UInt64(count)] {
        written += try await source.copyData(
          part, to: target, at: UInt64(shift) + part.lowerBound, using: Workspace())
      }
      let copy = try LinuxFile(scratch("target-\(round)"), for: .readOnly)
      #expect(try scratch.bytes("target-\(round)") == [UInt8](repeating: 0, count: shift) + content)
      #expect(
        try await source.hasCopy(of: 0..<UInt64(count), in: copy, at: UInt64(shift), using: Workspace()))
      let data = content.filter { $0 != 0 }.count
      // Every byte of data brings at most a page, and at the place where the parts meet one more.
      #expect(written <= UInt64((data + 1) * page), "round \(round)")
      guard let place = content.firstIndex(of: 1) else { continue }
      try await target.write(at: UInt64(shift + place), from: [7].span.bytes, isDurable: false)
      #expect(
        try await !source.hasCopy(of: 0..<UInt64(count), in: copy, at: UInt64(shift), using: Workspace()))
    }
  }

  /// A look through a mapping whose end has gone raises SIGBUS in anybody else.
  @Test func aFileCutShortIsAnError() async throws {
    let path = try scratch.write("cut", [UInt8](repeating: 3, count: 1 << 20))
    let source = try LinuxFile(path, for: .readOnly)
    let target = try await LinuxFileSystem().create(scratch("target"), byteCount: 1 << 20)
    let copy = try LinuxFile(scratch("target"), for: .readOnly)
    try FileHandle(forWritingTo: URL(filePath: path)).truncate(atOffset: 4096)
    let error = await #expect(throws: BlockError.self) {
      try await source.copyData(0..<1 << 20, to: target, at: 0, using: Workspace())
    }
    #expect(error?.kind == .ioError)
    await #expect(throws: BlockError.self) {
      try await source.hasCopy(of: 0..<1 << 20, in: copy, at: 0, using: Workspace())
    }
  }
}
