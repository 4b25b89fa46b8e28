import BlockCore

/// Putting indexes on top of each other (specification, §5.2).
package enum SegmentMerge {
  package typealias Segments = ContiguousArray<Segment>

  /// What one sees of two indexes: all of the upper, and the lower where the upper has nothing.
  ///
  /// - Parameters:
  ///   - upper: Sorted, without overlaps, without empty segments.
  ///   - lower: Likewise.
  /// - Returns: Likewise.
  package static func overlay(_ upper: Segments, on lower: Segments) -> Segments {
    if upper.isEmpty { return lower }
    if lower.isEmpty { return upper }
    var merged = Segments()
    merged.reserveCapacity(upper.count + lower.count)
    var next = 0
    // What is left of the lower segment that is being consumed.
    var rest = lower[0]
    var hasRest = true

    func advance() {
      next += 1
      hasRest = next < lower.count
      if hasRest { rest = lower[next] }
    }

    for top in upper {
      while hasRest && rest.offset < top.offset {
        if rest.end <= top.offset {
          merged.append(rest)
          advance()
        } else {
          merged.append(rest.prefix(upTo: top.offset))
          rest = rest.suffix(from: top.offset)
        }
      }
      while hasRest && rest.end <= top.end { advance() }
      if hasRest && rest.offset < top.end { rest = rest.suffix(from: top.end) }
      merged.append(top)
    }
    while hasRest {
      merged.append(rest)
      advance()
    }
    return merged
  }

  /// What one sees of a stack of indexes.
  ///
  /// Neighbours are merged in pairs, then the pairs, so that no segment is copied more often than the
  /// stack has doublings.
  ///
  /// - Parameters:
  ///   - layers: From the bottom up, each as ``overlay(_:on:)`` takes it.
  ///   - object: What the error calls the stack.
  /// - Throws: `exhausted` if the result, or a step on the way, has more than
  ///   ``BlockCore/Limits/segmentsInStack``.
  package static func flatten(_ layers: [Segments], object: String) throws(BlockError) -> Segments {
    var level = layers
    while level.count > 1 {
      var above: [Segments] = []
      above.reserveCapacity((level.count + 1) / 2)
      for index in stride(from: 0, to: level.count, by: 2) {
        if index + 1 == level.count {
          above.append(level[index])
        } else {
          above.append(overlay(level[index + 1], on: level[index]))
          // The halves are not needed any more; a stack may have millions of segments.
          level[index] = []
          level[index + 1] = []
        }
      }
      level = above
      let count = level.reduce(0) { $0 + $1.count }
      guard count <= Limits.segmentsInStack else {
        throw BlockError(
          .exhausted, step: "stack the layers of", object: object,
          cause: "together they have \(count) segments, and \(Limits.segmentsInStack) are allowed",
          remedy: "Merge some of the layers into one.")
      }
    }
    return level.first ?? []
  }

  /// What one sees of a log of changes, where a later one hides an earlier one.
  ///
  /// The log falls into runs that are sorted already (what is written in order makes long ones). A run is put
  /// on top of the one before as soon as it is half as long, so that there are never more than a few.
  package static func replay(_ log: Segments, object: String) throws(BlockError) -> Segments {
    var runs: [Segments] = []
    var run = Segments()
    for entry in log {
      if let last = run.last, entry.offset < last.end {
        push(run, onto: &runs)
        run = []
      }
      run.append(entry)
    }
    push(run, onto: &runs)
    return try flatten(runs, object: object)
  }

  private static func push(_ run: Segments, onto runs: inout [Segments]) {
    var top = run
    while let below = runs.last, below.count <= 2 * top.count {
      runs.removeLast()
      top = overlay(top, on: below)
    }
    runs.append(top)
  }
}
