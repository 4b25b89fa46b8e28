import ArgumentParser
import BlockCore
import FoundationEssentials
import Images
import LinuxIO

/// `ashlar-bench read`: reading an image through the library, on one thread.
struct ReadCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read", abstract: "Read an image; prints requests a second, or MB/s with --sequential.")

  @Argument(help: "The image.")
  var image: String

  @Option(help: "Bytes in a request.")
  var blockSize = 4096

  @Flag(help: "One after the other rather than anywhere.")
  var sequential = false

  @Option(help: "For how many seconds.")
  var seconds = 1.0

  @Option(help: "What the random numbers begin with.")
  var seed: UInt64 = 1

  func run() async throws {
    let image = try await Image.open(
      try ImageReference(image, relativeTo: FileManager.default.currentDirectoryPath),
      ImageOptions(isReadOnly: true, writesResultFile: false), .linux)
    let volume = image.volume
    // The options' wrappers are not to be measured.
    let (blockSize, sequential) = (blockSize, sequential)
    let size = volume.geometry.byteCount
    let workspace = Workspace()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 4096)
    defer { memory.deallocate() }
    // Once over everything, so that what is timed waits for nothing.
    for offset in stride(from: 0, to: size, by: blockSize) {
      var span = memory.mutableBytes
      if span.byteCount > Int(size - offset) { break }
      try await volume.perform(
        BlockRequest(.read, at: offset, byteCount: UInt64(blockSize)), data: &span, using: workspace)
    }

    var random = FastRandom(seed: seed)
    let blocks = size / UInt64(blockSize)
    var next: UInt64 = 0
    var requests = 0
    let clock = LinuxClock()
    let limit = Duration.seconds(seconds)
    let start = clock.now
    var elapsed = Duration.zero
    while elapsed < limit {
      for _ in 0..<(sequential ? 16 : 1024) {
        let block = sequential ? next % blocks : random.next(below: blocks)
        next += 1
        var span = memory.mutableBytes
        let request = BlockRequest(.read, at: block * UInt64(blockSize), byteCount: UInt64(blockSize))
        guard try volume.performNow(request, data: &span, using: workspace) == .done else {
          throw BlockError(
            .ioError, step: "measure", object: "\(image.reference)",
            cause: "a request had to wait for a disk",
            remedy: "Put the image on a tmpfs.")
        }
        requests += 1
      }
      elapsed = clock.now - start
    }
    let time = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    let rate = Double(requests) / time
    print(sequential ? rate * Double(blockSize) / 1e6 : rate)
  }
}
