import ArgumentParser
import BlockCore
import FoundationEssentials
import LinuxIO
import OverlayBD

/// `ashlar-bench decode`: decompressing a ZFile with its checksums.
struct DecodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract: "Decompress a ZFile, checksums and all; prints MB/s of content.",
    discussion: """
      Each thread goes over the whole file again and again. What counts is its fastest pass, as in lz4 -b and \
      zstd -b, and the threads' figures are added up.
      """)

  @Argument(help: "The ZFile.")
  var file: String

  @Option(help: "On how many threads.")
  var threads = 1

  @Option(help: "For how many seconds.")
  var seconds = 1.0

  func run() async throws {
    let workspace = Workspace()
    let source = try LinuxFile(file, for: .readOnly)
    guard let zfile = try await ZFile.openIfPresent(source, using: workspace), zfile.byteCount > 0 else {
      throw ValidationError("\(file) is no ZFile, or holds nothing.")
    }
    let clock = LinuxClock()
    let (threads, end) = (threads, clock.now + .seconds(seconds))
    let speed = try await withThrowingTaskGroup(of: Double.self) { group in
      for _ in 0..<threads {
        group.addTask { try await Self.fastestPass(over: zfile, until: end, clock) }
      }
      return try await group.reduce(0, +)
    }
    print(speed / 1e6)
  }

  /// Decodes everything at least once; returns the fastest pass's bytes a second.
  private static func fastestPass(
    over zfile: ZFile, until end: Duration, _ clock: LinuxClock
  ) async throws -> Double {
    let workspace = Workspace()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { memory.deallocate() }
    var fastest = Double.infinity
    repeat {
      let pass = try await Stopwatch.seconds { try decode(zfile, into: memory, using: workspace) }
      fastest = min(fastest, pass)
    } while clock.now < end
    return Double(zfile.byteCount) / fastest
  }

  /// Decodes everything, in steps as long as the memory.
  private static func decode(
    _ zfile: ZFile, into memory: UnsafeMutableRawBufferPointer, using workspace: Workspace
  ) throws {
    for offset in stride(from: 0, to: zfile.byteCount, by: memory.count) {
      let count = min(memory.count, Int(zfile.byteCount - offset))
      var span = memory.mutableBytes
      var part = span._mutatingExtracting(0..<count)
      guard try zfile.readNow(at: offset, into: &part, using: workspace) == .done else {
        throw ValidationError("The file is not in memory; put it on a tmpfs.")
      }
    }
  }
}
