import BlockCore

/// The exception store of dm-snapshot, read without the kernel (drivers/md/dm-snap-persistent.c).
///
/// Chunk 0 is the header: four little-endian u32, of which the chunk size counts sectors. Then areas follow: one
/// chunk of entries, two little-endian u64 each (the chunk of the origin, the chunk of the store), and as many
/// chunks of data as it has entries. The first entry whose store chunk is 0 ends the list; the kernel writes an
/// entry after the data that it speaks of.
public struct SnapshotExceptions: Sendable {
  /// One changed chunk.
  public struct Entry: Sendable, Hashable {
    /// Its number on the disk.
    public var chunk: UInt64
    /// Its number in the store.
    public var stored: UInt64

    /// Makes an entry; the parameters are those of the properties.
    public init(chunk: UInt64, stored: UInt64) {
      self.chunk = chunk
      self.stored = stored
    }
  }

  /// Bytes of a chunk.
  public static let chunkByteCount: UInt64 = 4096
  /// Entries in one chunk of them.
  public static let entriesPerArea: UInt64 = chunkByteCount / 16
  /// What the header begins with: "SnAp".
  private static let magic: UInt32 = 0x7041_6E53

  /// The changed chunks, in the order in which they were first changed.
  public let entries: [Entry]

  /// The chunks that a store must have so that every chunk of a disk can be changed.
  ///
  /// One of header, one of entries for 256 of data, and one more of entries, because the kernel prepares the next
  /// area when one is full.
  public static func chunksNeeded(forDiskOf byteCount: UInt64) -> UInt64 {
    let data = (byteCount + chunkByteCount - 1) / chunkByteCount
    return data + (data + entriesPerArea - 1) / entriesPerArea + 2
  }

  /// Reads and checks a store.
  ///
  /// - Parameters:
  ///   - source: The store, from the header on; nothing else has to be there, and zeros are missing bytes.
  ///   - diskByteCount: The size of the disk, in bytes.
  ///   - present: How many bytes of the store are really there, should the file have been cut short.
  ///   - workspace: The caller's.
  /// - Throws: `corrupt` with the place, if an entry cannot be right or speaks of data that is not there, and for
  ///   a store that the kernel has marked as invalid.
  public init(
    _ source: any ByteSource, diskByteCount: UInt64, present: UInt64, using workspace: Workspace
  ) async throws(BlockError) {
    func corrupt(_ field: String, at offset: UInt64, _ problem: String) -> BlockError {
      .corrupt(file: source.name, field: field, at: offset, problem)
    }
    let chunk = Self.chunkByteCount
    guard min(present, source.byteCount) >= chunk else {
      throw corrupt("the exception store", at: 0, "has no header")
    }
    let header = try await source.bytes(at: 0, byteCount: 16, using: workspace)
    if header.allSatisfy({ $0 == 0 }) {
      // New: the kernel writes the header when it first opens it. One that was used and has lost its header would be
      // taken for new, and its changes would be lost.
      if min(present, source.byteCount) >= chunk + 16 {
        let first = try await source.bytes(at: chunk, byteCount: 16, using: workspace)
        guard first.allSatisfy({ $0 == 0 }) else {
          throw corrupt("the exception store", at: 0, "has entries and no header")
        }
      }
      entries = []
      return
    }
    let span = header.span.bytes
    guard span.littleEndian(0) == Self.magic else { throw corrupt("the magic", at: 0, "is not \"SnAp\"") }
    guard span.littleEndian(4, as: UInt32.self) == 1 else {
      throw corrupt(
        "the valid flag", at: 4, "says that changes were lost: the store became full or could not be written")
    }
    guard span.littleEndian(8, as: UInt32.self) == 1, span.littleEndian(12, as: UInt32.self) == 8 else {
      throw corrupt("the version or chunk size", at: 8, "is not what this engine makes")
    }
    let diskChunks = (diskByteCount + chunk - 1) / chunk
    let storeChunks = min(present, source.byteCount) / chunk
    var found: [Entry] = []
    var area: UInt64 = 0
    reading: while true {
      let place = 1 + area * (Self.entriesPerArea + 1)
      // An area that is not there has no entries: it would have been written before they are.
      guard place < storeChunks else { break }
      let bytes = try await source.bytes(at: place * chunk, byteCount: Int(chunk), using: workspace)
      for index in 0..<Int(Self.entriesPerArea) {
        let entry = Entry(
          chunk: bytes.span.bytes.littleEndian(index * 16),
          stored: bytes.span.bytes.littleEndian(index * 16 + 8))
        let offset = place * chunk + UInt64(index * 16)
        if entry.stored == 0 { break reading }
        guard entry.chunk < diskChunks else {
          throw corrupt(
            "an entry", at: offset, "speaks of chunk \(entry.chunk) of a disk that has \(diskChunks)")
        }
        guard entry.stored < storeChunks else {
          throw corrupt(
            "an entry", at: offset, "speaks of chunk \(entry.stored) of a store that has \(storeChunks)")
        }
        guard (entry.stored - 1) % (Self.entriesPerArea + 1) != 0 else {
          throw corrupt("an entry", at: offset, "speaks of a chunk that holds entries")
        }
        guard UInt64(found.count) < diskChunks else {
          throw corrupt("the entries", at: offset, "are more than the disk has chunks")
        }
        found.append(entry)
      }
      area += 1
    }
    let chunks = found.map(\.chunk).sorted()
    if let twice = zip(chunks, chunks.dropFirst()).first(where: { $0 == $1 })?.0 {
      throw corrupt("the entries", at: chunk, "speak of chunk \(twice) of the disk twice")
    }
    entries = found
  }
}
