import BlockCore

extension Layer {
  /// Whether a source is an LSMT file, by its first bytes.
  public static func isPresent(
    in source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> Bool {
    guard source.byteCount >= UInt64(LSMTHeader.byteCount) else { return false }
    let bytes = try await source.bytes(at: 0, byteCount: LSMTHeader.magic0.count, using: workspace)
    return LSMTHeader.isPresent(in: bytes.span.bytes)
  }

  /// How many entries the index of a sealed layer has, padding included: what loading it takes memory for.
  ///
  /// - Throws: `corrupt`, naming file, field and offset.
  public static func entryCount(ofSealed source: any ByteSource, using workspace: Workspace)
    async throws(BlockError) -> UInt64
  {
    UInt64(try indexReader(of: source, try await readTrailer(of: source, using: workspace)).count)
  }

  /// Opens a sealed or committed layer (specification, §4.1), or a warp layer (§4.7).
  ///
  /// - Parameters:
  ///   - source: The layer, out of its tar and decompressed.
  ///   - target: For a warp layer, the uncompressed tar that it points into.
  ///   - workspace: The calling thread's own.
  /// - Throws: `corrupt` or `unsupported`, naming file, field and offset.
  public static func openSealed(
    _ source: any ByteSource, target: (any ByteSource)? = nil, using workspace: Workspace
  ) async throws(BlockError) -> Layer {
    let trailer = try await readTrailer(of: source, using: workspace)
    let reader = try indexReader(of: source, trailer)
    let ownData =
      target == nil
      ? DataBounds(
        first: LSMTHeader.firstDataSector, end: trailer.indexOffset / VolumeGeometry.sectorSize,
        bindsZeroed: true)
      : DataBounds(
        first: 0, end: trailer.indexOffset / VolumeGeometry.sectorSize, bindsZeroed: false)
    let targetData = target.map { DataBounds(tarByteCount: $0.byteCount) }

    var segments = ContiguousArray<Segment>()
    segments.reserveCapacity(reader.count)
    var lastEnd: UInt64 = 0
    try await reader.forEach(using: workspace) { (entry, number) throws(BlockError) in
      let position = reader.position(of: number)
      guard entry.offset >= lastEnd else {
        throw .corrupt(
          file: source.name, field: "index entry \(number) offset", at: position,
          "is sector \(entry.offset), inside or before the entry that ends at sector \(lastEnd)")
      }
      guard entry.length > 0 else {
        throw .corrupt(
          file: source.name, field: "index entry \(number) length", at: position, "is 0")
      }
      lastEnd = entry.offset + entry.length
      // The tags of an ordinary layer are noise; those of a warp layer say which file.
      let bounds = try Self.bounds(
        for: entry, ownData, targetData, number: number, at: position, of: source.name)
      try bounds.check(entry, number: number, at: position, of: source.name)
      let fromTarget = targetData != nil && entry.tag == 1
      segments.append(
        try entry.inMemory(source: fromTarget ? 1 : 0, number: number, at: position, of: source.name))
    }
    return Layer(
      form: target == nil ? .sealed : .warp, header: trailer, headerName: source.name,
      segments: segments,
      storedEntryCount: trailer.indexCount,
      sources: target.map { [source, DataBounds.padded(tar: $0)] } ?? [source])
  }

  private static func bounds(
    for entry: StoredSegment, _ own: DataBounds, _ target: DataBounds?, number: Int, at position: UInt64,
    of file: String
  ) throws(BlockError) -> DataBounds {
    guard let target else { return own }
    switch entry.tag {
    case 0: return own
    case 1: return target
    default:
      throw .corrupt(
        file: file, field: "index entry \(number) tag", at: position + 15,
        "is \(entry.tag), and a warp layer knows 0 (its own data) and 1 (the tar)")
    }
  }

  private static func readTrailer(
    of source: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> LSMTHeader {
    let blockSize = UInt64(LSMTHeader.byteCount)
    guard source.byteCount >= 2 * blockSize else {
      throw .corrupt(
        tooShort: source.name, byteCount: source.byteCount,
        "a header and a trailer of \(blockSize) bytes each")
    }
    let first = try await source.bytes(at: 0, byteCount: LSMTHeader.byteCount, using: workspace)
    _ = try LSMTHeader(first.span.bytes, as: .layerHeader, at: 0, of: source.name)
    // The trailer is authoritative: the header of a sealed writable file was never rewritten.
    let position = source.byteCount - blockSize
    let last = try await source.bytes(at: position, byteCount: LSMTHeader.byteCount, using: workspace)
    return try LSMTHeader(last.span.bytes, as: .layerTrailer, at: position, of: source.name)
  }

  private static func indexReader(
    of source: any ByteSource, _ trailer: LSMTHeader
  ) throws(BlockError) -> IndexReader {
    let trailerPosition = source.byteCount - UInt64(LSMTHeader.byteCount)
    guard trailer.indexCount <= UInt64(Limits.segmentsInLayer) else {
      throw .corrupt(
        file: source.name, field: "trailer index_size", at: trailerPosition + 40,
        "is \(trailer.indexCount) entries, and a layer may have \(Limits.segmentsInLayer)")
    }
    guard trailer.indexOffset >= UInt64(LSMTHeader.byteCount), trailer.indexOffset <= trailerPosition else {
      throw .corrupt(
        file: source.name, field: "trailer index_offset", at: trailerPosition + 32,
        "is \(trailer.indexOffset), which is not between the header and the trailer")
    }
    let byteCount = trailer.indexCount * UInt64(StoredSegment.byteCount)
    guard byteCount <= trailerPosition - trailer.indexOffset else {
      throw .corrupt(
        file: source.name, field: "trailer index_size", at: trailerPosition + 40,
        "is \(trailer.indexCount) entries, which do not fit between byte \(trailer.indexOffset) and the trailer"
      )
    }
    return IndexReader(source: source, start: trailer.indexOffset, count: Int(trailer.indexCount))
  }
}
