import ArgumentParser
import BlockCore
import FoundationEssentials
import LinuxIO
import OverlayBD

/// `ashlar-bench decode`: decompressing a ZFile with its checksums.
struct DecodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode", abstract: "Decompress a ZFile, checksums and all; prints MB/s of content.")

  @Argument(help: "The ZFile.")
  var file: String

  @Option(help: "On how many threads.")
  var threads = 1

  @Option(help: "For how many seconds.")
  var seconds = 1.0

  func run() async throws {
    let workspace = Workspace()
    let source = try LinuxFile(file, for: .readOnly)
    guard let zfile = try await ZFile.openIfPresent(source, using: workspace) else {
      throw ValidationError("\(file) is no ZFile.")
    }
    let clock = LinuxClock()
    let (threads, limit) = (threads, Duration.seconds(seconds))
    let start = clock.now
    let total = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for thread in 0..<threads {
        group.addTask { try Self.decode(zfile, from: thread, of: threads, until: start + limit, clock) }
      }
      return try await group.reduce(0, +)
    }
    let elapsed = clock.now - start
    let time = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    print(Double(total) / time / 1e6)
  }

  /// Decodes again and again, in steps of 1 MiB; returns how many bytes.
  private static func decode(
    _ zfile: ZFile, from first: Int, of threads: Int, until end: Duration, _ clock: LinuxClock
  ) throws -> UInt64 {
    let workspace = Workspace()
    let step = 1 << 20
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: step, alignment: 4096)
    defer { memory.deallocate() }
    let steps = max(Int(zfile.byteCount) / step, 1)
    var number = first
    var total: UInt64 = 0
    while clock.now < end {
      let offset = UInt64(number % steps) * UInt64(step)
      let count = min(step, Int(zfile.byteCount - offset))
      var span = memory.mutableBytes
      var part = span._mutatingExtracting(0..<count)
      guard try zfile.readNow(at: offset, into: &part, using: workspace) == .done else {
        throw ValidationError("The file is not in memory; put it on a tmpfs.")
      }
      total += UInt64(count)
      number += threads
    }
    return total
  }
}
