import BlockCore
import CZlib

/// The owner of a zlib stream that decodes.
///
/// zlib rather than a faster inflate, because decoding begins in the middle of a stream: with some bits
/// of a byte and a window of what came before.
struct Inflate: ~Copyable {
  /// The most bytes that a window of 32 KiB can take in an index.
  static let storedWindowLimit = Int(compressBound(uLong(GzipIndex.windowByteCount)))

  // On the heap, for zlib keeps a pointer to it.
  private let stream: UnsafeMutablePointer<z_stream>

  /// How a stream is wrapped.
  enum Wrapping: CInt {
    /// A zlib header and an Adler-32 behind.
    case zlib = 15
    /// Bare deflate.
    case none = -15
    /// A gzip header and a CRC behind.
    case gzip = 31
  }

  /// Begins a stream; `nil` if there is no memory for it.
  init?(_ wrapping: Wrapping) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard inflateInit2_(stream, wrapping.rawValue, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size)) == Z_OK
    else {
      stream.deallocate()
      return nil
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  /// Sets a bare stream up to go on in the middle.
  ///
  /// - Parameters:
  ///   - window: The 32 KiB of content before.
  ///   - bits: How many bits of a byte come before the next byte.
  ///   - value: Those bits.
  /// - Returns: Whether zlib took them.
  func resume(window: [UInt8], bits: UInt8, value: UInt8) -> Bool {
    if bits > 0, inflatePrime(stream, CInt(bits), CInt(value)) != Z_OK { return false }
    return inflateSetDictionary(stream, window, uInt(window.count)) == Z_OK
  }

  /// What came of one step.
  struct Step {
    /// How many bytes of the input were used.
    let consumed: Int
    /// How many bytes of content came out.
    let produced: Int
    /// Whether the stream is at its end.
    let isAtEnd: Bool
  }

  /// Decodes as much as input and room allow; `nil` if the bytes are not well formed.
  func step(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Step? {
    // zlib does not write to its input; its type says otherwise for C's sake.
    stream.pointee.next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    stream.pointee.avail_in = uInt(input.count)
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = uInt(output.count)
    let code = inflate(stream, Z_NO_FLUSH)
    // Z_BUF_ERROR only says that nothing more could be done with this input or room.
    guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else { return nil }
    return Step(
      consumed: input.count - Int(stream.pointee.avail_in),
      produced: output.count - Int(stream.pointee.avail_out), isAtEnd: code == Z_STREAM_END)
  }

  /// Decodes a whole zlib stream of a known length; `nil` unless it is exactly that.
  static func stream(_ stored: [UInt8], byteCount: Int) -> [UInt8]? {
    guard let inflate = Inflate(.zlib) else { return nil }
    var content = [UInt8](repeating: 0, count: byteCount)
    let step = stored.withUnsafeBytes { input in
      content.withUnsafeMutableBytes { output in inflate.step(input, into: output) }
    }
    guard let step, step.produced == byteCount else { return nil }
    return content
  }
}
