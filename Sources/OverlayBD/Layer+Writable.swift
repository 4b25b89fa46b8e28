import BlockCore

extension Layer {
  /// Opens a writable layer for reading (specification, §4.2 and §4.3).
  ///
  /// Nothing is changed in the files: a size of 0 is inherited without being written back.
  ///
  /// - Parameters:
  ///   - data: The data file.
  ///   - index: The index file; not looked at for a file in sparse mode.
  ///   - workspace: The calling thread's own.
  /// - Throws: `corrupt` or `unsupported`, naming file, field and offset.
  public static func openWritable(
    data: any BlockFile, index: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> Layer {
    let header = try await readHeader(of: data, as: .writableDataHeader, using: workspace)
    if header.flags.contains(.sparse) { return try await openSparse(data, header) }
    let indexHeader = try await readHeader(of: index, as: .writableIndexHeader, using: workspace)
    let bounds = DataBounds(
      first: LSMTHeader.firstDataSector, end: data.byteCount / VolumeGeometry.sectorSize, bindsZeroed: true)
    let log = try await readLog(of: index, indexHeader, using: workspace) {
      (entry, number, position) throws(BlockError) in
      try bounds.check(entry, number: number, at: position, of: index.name)
      return 0
    }
    return Layer(
      form: .writable, header: indexHeader, headerName: index.name,
      segments: try SegmentMerge.replay(log.segments, object: index.name),
      storedEntryCount: UInt64(log.entryCount), sources: [data])
  }

  /// Opens a writable warp layer for reading (specification, §4.7): a raw metadata file, and a tar.
  ///
  /// - Parameters:
  ///   - data: The file with the file system's metadata, without a header.
  ///   - index: The index file.
  ///   - target: The uncompressed tar.
  ///   - workspace: The calling thread's own.
  /// - Throws: `corrupt` or `unsupported`, naming file, field and offset.
  public static func openWritableWarp(
    data: any BlockFile, index: any ByteSource, target: any ByteSource, using workspace: Workspace
  ) async throws(BlockError) -> Layer {
    let sector = VolumeGeometry.sectorSize
    let header = try await readHeader(of: index, as: .writableIndexHeader, using: workspace)
    // Tags count from the file's position in the stack; the smallest one is the metadata's.
    var smallest = UInt8.max
    _ = try await readLog(of: index, header, using: workspace) { (entry, _, _) throws(BlockError) in
      smallest = min(smallest, entry.tag)
      return 0
    }
    let dataBounds = DataBounds(first: 0, end: data.byteCount / sector, bindsZeroed: false)
    let targetBounds = DataBounds(tarByteCount: target.byteCount)
    let log = try await readLog(of: index, header, using: workspace) {
      (entry, number, position) throws(BlockError) in
      switch entry.tag - smallest {
      case 0:
        try dataBounds.check(entry, number: number, at: position, of: index.name)
        return 0
      case 1:
        try targetBounds.check(entry, number: number, at: position, of: index.name)
        return 1
      default:
        throw .corrupt(
          file: index.name, field: "index entry \(number) tag", at: position + 15,
          "is \(entry.tag), and a warp layer's tags here are \(smallest) and \(smallest + 1)")
      }
    }
    return Layer(
      form: .writableWarp, header: header, headerName: index.name,
      segments: try SegmentMerge.replay(log.segments, object: index.name),
      storedEntryCount: UInt64(log.entryCount), sources: [data, DataBounds.padded(tar: target)])
  }

  private static func readHeader(
    of file: any ByteSource, as role: LSMTHeader.Role, using workspace: Workspace
  ) async throws(BlockError) -> LSMTHeader {
    guard file.byteCount >= UInt64(LSMTHeader.byteCount) else {
      throw .corrupt(
        tooShort: file.name, byteCount: file.byteCount, "a header of \(LSMTHeader.byteCount) bytes")
    }
    let bytes = try await file.bytes(at: 0, byteCount: LSMTHeader.byteCount, using: workspace)
    return try LSMTHeader(bytes.span.bytes, as: role, at: 0, of: file.name)
  }

  /// Reads the log of an index file; the body checks an entry and says which source holds its data.
  private static func readLog(
    of index: any ByteSource, _ header: LSMTHeader, using workspace: Workspace,
    _ body: (StoredSegment, Int, UInt64) throws(BlockError) -> UInt16
  ) async throws(BlockError) -> (segments: ContiguousArray<Segment>, entryCount: Int) {
    guard header.indexOffset == UInt64(LSMTHeader.byteCount) else {
      throw .corrupt(
        file: index.name, field: "index file's header index_offset", at: 32,
        "is \(header.indexOffset), and the log begins at byte \(LSMTHeader.byteCount)")
    }
    // A last record of less than 16 bytes was being written when the power failed.
    let count = (index.byteCount - header.indexOffset) / UInt64(StoredSegment.byteCount)
    guard count <= UInt64(Limits.segmentsInIndexLog) else {
      throw BlockError(
        .exhausted, step: "read", object: index.name,
        cause: "its log has \(count) entries, and \(Limits.segmentsInIndexLog) are allowed",
        remedy: "Commit the writable layer and begin a new one.")
    }
    let reader = IndexReader(source: index, start: header.indexOffset, count: Int(count))
    var segments = ContiguousArray<Segment>()
    segments.reserveCapacity(reader.count)
    try await reader.forEach(using: workspace) { (entry, number) throws(BlockError) in
      // A write of nothing leaves an entry that means nothing; upstream cannot open such a file.
      if entry.length == 0 { return }
      let position = reader.position(of: number)
      let source = try body(entry, number, position)
      segments.append(try entry.inMemory(source: source, number: number, at: position, of: index.name))
    }
    return (segments, reader.count)
  }

  /// Opens a file in sparse mode: what the file system has allocated is what was written.
  private static func openSparse(_ data: any BlockFile, _ header: LSMTHeader) async throws(BlockError)
    -> Layer
  {
    let sector = VolumeGeometry.sectorSize
    let first = UInt64(LSMTHeader.byteCount)
    var segments = ContiguousArray<Segment>()
    for extent in try await data.dataExtents(from: first) {
      var start = extent.lowerBound / sector
      let end = (extent.upperBound + sector - 1) / sector
      guard end <= Segment.maximumMoffset else {
        throw .unsupported(
          file: data.name, field: "data", at: extent.lowerBound, "stands further into the file than 64 PiB")
      }
      while start < end {
        let length = min(end - start, Segment.maximumLength)
        guard segments.count < Limits.segmentsInIndexLog else {
          throw BlockError(
            .exhausted, step: "read", object: data.name,
            cause: "it is in more than \(Limits.segmentsInIndexLog) pieces on its disk, which are allowed",
            remedy: "Commit the writable layer and begin a new one.")
        }
        segments.append(Segment(offset: start - first / sector, length: length, moffset: start))
        start += length
      }
    }
    return Layer(
      form: .sparse, header: header, headerName: data.name, segments: segments, storedEntryCount: 0,
      sources: [PaddedSource(data)])
  }
}
