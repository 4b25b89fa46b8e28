import BlockSim
import OverlayBD
import TestKit
import Testing

@Suite struct SegmentTests {
  typealias Segments = ContiguousArray<Segment>

  @Test func holdsEveryFieldAtItsLimit() {
    let segment = Segment(
      offset: Segment.maximumOffset, length: Segment.maximumLength, moffset: Segment.maximumMoffset,
      isZeroed: true,
      source: .max)
    #expect(segment.offset == (1 << 50) - 1)
    #expect(segment.length == 16383)
    #expect(segment.moffset == (1 << 47) - 1)
    #expect(segment.isZeroed)
    #expect(segment.source == .max)
    #expect(segment.end == (1 << 50) + 16382)
    #expect(MemoryLayout<Segment>.size == 16)
  }

  @Test func isCutAtBothEnds() {
    let data = Segment(offset: 10, length: 5, moffset: 100, source: 3)
    #expect(data.suffix(from: 12) == Segment(offset: 12, length: 3, moffset: 102, source: 3))
    #expect(data.prefix(upTo: 12) == Segment(offset: 10, length: 2, moffset: 100, source: 3))
    let zeroed = Segment(offset: 10, length: 5, moffset: 0, isZeroed: true)
    #expect(zeroed.suffix(from: 12) == Segment(offset: 12, length: 3, moffset: 0, isZeroed: true))
  }

  /// Random segments, sorted and without overlaps.
  private func segments(_ count: Int, source: UInt16, below end: UInt64, _ random: inout SplitMix64)
    -> Segments
  {
    var segments = Segments()
    var offset = UInt64.random(in: 0..<4, using: &random)
    for _ in 0..<count {
      let length = UInt64.random(in: 1...6, using: &random)
      if offset + length > end { break }
      segments.append(
        Segment(
          offset: offset, length: length, moffset: UInt64.random(in: 8..<1000, using: &random),
          isZeroed: Int.random(in: 0..<5, using: &random) == 0, source: source))
      offset += length + (Bool.random(using: &random) ? 0 : UInt64.random(in: 0..<8, using: &random))
    }
    return segments
  }

  /// What each sector is: `nil` for a hole, 0 for zeroed, else source and place.
  private func picture(_ segments: Segments, _ end: UInt64) -> [UInt64?] {
    var picture = [UInt64?](repeating: nil, count: Int(end))
    for segment in segments {
      for sector in segment.offset..<segment.end {
        picture[Int(sector)] =
          segment.isZeroed ? 0 : UInt64(segment.source) << 48 | (segment.moffset + sector - segment.offset)
      }
    }
    return picture
  }

  @Test func overlayIsWhatOneSeesFromAbove() throws {
    var random = SplitMix64(seed: Seed.of("overlayIsWhatOneSeesFromAbove"))
    let end: UInt64 = 200
    for _ in 0..<2000 {
      let layers = (0..<UInt16.random(in: 1...7, using: &random)).map {
        segments(Int.random(in: 0...40, using: &random), source: $0 + 1, below: end, &random)
      }
      var expected = [UInt64?](repeating: nil, count: Int(end))
      for layer in layers {
        for (sector, value) in picture(layer, end).enumerated() where value != nil {
          expected[sector] = value
        }
      }
      let merged = try SegmentMerge.flatten(layers, object: "test")
      #expect(picture(merged, end) == expected)
      #expect(zip(merged, merged.dropFirst()).allSatisfy { $0.end <= $1.offset && $0.length > 0 })
    }
  }

  @Test func replayLetsTheLaterOneWin() throws {
    var random = SplitMix64(seed: Seed.of("replayLetsTheLaterOneWin"))
    let end: UInt64 = 120
    for _ in 0..<1000 {
      var log = Segments()
      for _ in 0..<Int.random(in: 0...60, using: &random) {
        let offset = UInt64.random(in: 0..<end - 10, using: &random)
        log.append(
          Segment(
            offset: offset, length: UInt64.random(in: 1...10, using: &random),
            moffset: UInt64.random(in: 8..<5000, using: &random),
            isZeroed: Int.random(in: 0..<4, using: &random) == 0))
      }
      #expect(picture(try SegmentMerge.replay(log, object: "test"), end) == picture(log, end))
    }
  }

  @Test func indexFindsWhatALinearSearchFinds() {
    var random = SplitMix64(seed: Seed.of("indexFindsWhatALinearSearchFinds"))
    for round in 0..<300 {
      var list = segments(Int.random(in: 0...200, using: &random), source: 0, below: 3000, &random)
      // Crowds: many segments in a small part of a huge space.
      if round % 3 == 0 { list.append(Segment(offset: (1 << 50) - 20, length: 9, moffset: 8)) }
      if round % 5 == 0 { list.append(Segment(offset: Segment.maximumOffset - 1, length: 16383, moffset: 8)) }
      let index = SegmentIndex(list)
      let interesting = list.flatMap { [$0.offset, $0.end, $0.end &- 1] }
      for sector in interesting + (0..<200).map({ _ in UInt64.random(in: 0..<3100, using: &random) }) {
        let expected = list.firstIndex { $0.end > sector } ?? list.count
        #expect(index.firstSegment(endingAfter: sector) == expected, "sector \(sector)")
      }
      #expect(index.firstSegment(endingAfter: .max) == list.count)
    }
  }
}
