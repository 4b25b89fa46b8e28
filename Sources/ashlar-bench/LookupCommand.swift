import ArgumentParser
import OverlayBD

/// `ashlar-bench lookup`: how many sectors a second an index finds.
struct LookupCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lookup", abstract: "Look up random sectors in an index; prints millions a second.")

  @Argument(help: "How many segments.")
  var count: Int

  @Option(help: "How many look-ups.")
  var lookups = 20_000_000

  @Option(help: "What the random numbers begin with.")
  var seed: UInt64 = 1

  func run() async throws {
    // Segments as a disk in use has them: 1 to 64 sectors long, gaps of up to 64 between most of them.
    var random = FastRandom(seed: seed)
    var segments = ContiguousArray<Segment>()
    segments.reserveCapacity(count)
    var offset: UInt64 = 0
    for number in 0..<count {
      let length = 1 + random.next(below: 64)
      segments.append(Segment(offset: offset, length: length, moffset: UInt64(number) * 64 + 8))
      offset += length + random.next(below: 64)
    }
    let index = SegmentIndex(segments)
    // The keys are drawn before, so that only the look-ups are timed.
    let keys = (0..<(1 << 20)).map { _ in random.next(below: offset) }
    let rounds = max(lookups / keys.count, 1)
    var sum = 0
    let seconds = await Stopwatch.seconds {
      for _ in 0..<rounds {
        for key in keys { sum &+= index.firstSegment(endingAfter: key) }
      }
    }
    // Using the sum keeps the look-ups from being left out.
    guard sum != 0 else { throw ExitCode(1) }
    print(Double(rounds * keys.count) / seconds / 1e6)
  }
}
