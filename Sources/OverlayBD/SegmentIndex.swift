import BlockCore

/// The segments of a stack, and a way to the one that holds a sector.
///
/// A table divides the logical space into buckets of equal size and says for each which segment to look
/// at first. With about as many buckets as segments a look-up touches one table entry and one or two
/// segments, however many there are; where they crowd in a few buckets a binary search bounds it. Keys
/// have 50 bits throughout: a disk may be larger than 2 TiB.
public struct SegmentIndex: Sendable {
  /// All segments, sorted, without overlaps, without empty ones.
  @usableFromInline let segments: ContiguousArray<Segment>
  /// For each bucket, the first segment that ends behind the bucket's first sector; one more at the end.
  @usableFromInline let firstOfBucket: ContiguousArray<UInt32>
  /// How many bits a bucket's number leaves out of a sector's.
  @usableFromInline let shift: UInt64

  /// Makes an index.
  ///
  /// - Parameter segments: Sorted by offset, without overlaps, without empty segments; at most 2³² − 1.
  public init(_ segments: ContiguousArray<Segment>) {
    precondition(segments.count < UInt32.max, "too many segments to number")
    let end = segments.last?.end ?? 0
    var shift: UInt64 = 0
    // Between one and two buckets for each segment.
    while end >> shift > UInt64(max(segments.count, 8)) * 2 { shift += 1 }
    let bucketCount = Int(end >> shift) + 1
    var first = ContiguousArray<UInt32>(repeating: 0, count: bucketCount + 1)
    var next = 0
    for bucket in 0..<bucketCount {
      let start = UInt64(bucket) << shift
      while next < segments.count && segments[next].end <= start { next += 1 }
      first[bucket] = UInt32(next)
    }
    first[bucketCount] = UInt32(segments.count)
    self.segments = segments
    self.firstOfBucket = first
    self.shift = shift
  }

  /// How many segments there are.
  public var count: Int { segments.count }

  /// The segment with a number.
  @inlinable
  public subscript(number: Int) -> Segment { segments[number] }

  /// The number of the first segment that ends behind a sector; ``count`` if there is none.
  ///
  /// If that segment begins behind the sector, the sector lies in a hole.
  @inlinable
  public func firstSegment(endingAfter sector: UInt64) -> Int {
    let bucket = sector &>> shift
    guard bucket < UInt64(firstOfBucket.count &- 1) else { return segments.count }
    var number = Int(firstOfBucket[Int(truncatingIfNeeded: bucket)])
    let limit = Int(firstOfBucket[Int(truncatingIfNeeded: bucket) &+ 1])
    if limit &- number > 8 { return search(sector, from: number, to: limit) }
    while number < limit && segments[number].end <= sector { number &+= 1 }
    return number
  }

  /// The same by halves, among the segments `low..<high` and the one behind them.
  @usableFromInline
  func search(_ sector: UInt64, from low: Int, to high: Int) -> Int {
    var low = low
    var high = high
    while low < high {
      let middle = low + (high - low) / 2
      if segments[middle].end <= sector { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
