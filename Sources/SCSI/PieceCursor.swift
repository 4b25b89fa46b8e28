import BlockCore
import Glibc

/// A place in a command's data, which moves over its pieces as over one stream of bytes.
struct PieceCursor {
  private let pieces: UnsafeBufferPointer<iovec>
  private var index = 0
  private var offset = 0

  /// Begins at the start of some data.
  init(_ data: DataBuffer) { pieces = data.pieces }

  /// The bytes from here on that lie in one piece, at most so many; empty at the end.
  mutating func contiguous(atMost limit: Int) -> UnsafeMutableRawBufferPointer {
    while index < pieces.count {
      let piece = pieces[index]
      let left = piece.iov_len - offset
      if left > 0, let base = piece.iov_base {
        return UnsafeMutableRawBufferPointer(start: base + offset, count: min(left, limit))
      }
      index += 1
      offset = 0
    }
    return UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }

  /// Moves on within the piece that ``contiguous(atMost:)`` has shown.
  mutating func advance(_ count: Int) { offset += count }

  /// Visits the next bytes, piece by piece, until so many have passed, the data ends, or the body has enough.
  ///
  /// - Parameters:
  ///   - count: How many bytes.
  ///   - body: Gets where the bytes are and which of the count they are; returns whether to go on.
  private mutating func visit(
    _ count: Int, _ body: (_ memory: UnsafeMutableRawBufferPointer, _ position: Int) -> Bool
  ) {
    var position = 0
    while position < count {
      let part = contiguous(atMost: count - position)
      if part.isEmpty || !body(part, position) { return }
      advance(part.count)
      position += part.count
    }
  }

  /// Copies bytes into the pieces, as many as these hold.
  mutating func write(_ bytes: UnsafeRawBufferPointer) {
    visit(bytes.count) { part, position in
      part.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[position..<position + part.count]))
      return true
    }
  }

  /// Copies bytes out of the pieces, as many as are left, into the beginning of a buffer.
  mutating func read(into bytes: UnsafeMutableRawBufferPointer) {
    visit(bytes.count) { part, position in
      UnsafeMutableRawBufferPointer(rebasing: bytes[position..<position + part.count])
        .copyMemory(from: UnsafeRawBufferPointer(part))
      return true
    }
  }

  /// Moves on over bytes.
  mutating func skip(_ count: Int) { visit(count) { _, _ in true } }

  /// Compares the next bytes with others; returns which is the first that differs, if one does.
  mutating func firstDifference(from bytes: UnsafeRawBufferPointer) -> Int? {
    var difference: Int?
    visit(bytes.count) { part, position in
      let other = UnsafeRawBufferPointer(rebasing: bytes[position..<position + part.count])
      if let mine = part.baseAddress, let others = other.baseAddress, memcmp(mine, others, part.count) == 0 {
        return true
      }
      difference = part.indices.first { part[$0] != other[$0] }.map { position + $0 }
      return false
    }
    return difference
  }
}

extension DataBuffer {
  /// The first bytes of it, at most so many: a parameter list.
  func bytes(atMost limit: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: min(byteCount, max(limit, 0)))
    var cursor = PieceCursor(self)
    bytes.withUnsafeMutableBytes { cursor.read(into: $0) }
    return bytes
  }

  /// Fills it with zeros.
  func clear() {
    for piece in pieces where piece.iov_len > 0 {
      if let base = piece.iov_base { memset(base, 0, piece.iov_len) }
    }
  }
}
