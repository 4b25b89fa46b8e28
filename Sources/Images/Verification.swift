import BlockCore
import OverlayBD
import Synchronization

extension Image {
  /// What an examination of an image found: what `ashlar image verify` prints.
  public struct Verification: Sendable, Hashable, Codable {
    /// One thing found.
    public struct Finding: Sendable, Hashable, Codable {
      /// How bad it is.
      public enum Severity: String, Sendable, Codable {
        /// Bytes are wrong or cannot be read.
        case damage
        /// Nothing is wrong, but something may not be as it was meant.
        case warning
        /// What the examination could not see.
        case note
      }

      /// How bad it is.
      public var severity: Severity
      /// The file that it is about.
      public var file: String
      /// What was found.
      public var text: String
    }

    /// Whether no damage was found.
    public var isSound: Bool
    /// Bytes that were read and held against a checksum.
    public var checkedBytes: UInt64
    /// Bytes that were read and have no checksum.
    public var uncheckedBytes: UInt64
    /// Everything found.
    public var findings: [Finding]
  }

  /// Examines an image: reads every byte, checks every checksum and every extent.
  ///
  /// That the image could be opened has shown already that headers, trailers and indexes are sound.
  ///
  /// - Parameters:
  ///   - taskCount: How many tasks share the work.
  ///   - progress: Told of every byte read.
  /// - Throws: `cancelled`; damage is a finding, not an error.
  public func verify(taskCount: Int, _ progress: Progress) async throws(BlockError) -> Verification {
    let notebook = Notebook()
    for opened in layers {
      await opened.verify(diskSize: volume.geometry.byteCount, taskCount: taskCount, notebook, progress)
    }
    if layers.isEmpty {
      await Self.readAll(volume, taskCount: taskCount, notebook, progress, file: reference.path)
    }
    if summary.uuidChain == false {
      notebook.add(.warning, reference.path, "a layer's parent UUID is not the UUID of the layer beneath it")
    }
    for notice in notices { notebook.add(.note, reference.path, notice) }
    if Task.isCancelled {
      throw BlockError(.cancelled, step: "verify", object: reference.path, cause: "the work was called off")
    }
    return notebook.verification
  }

  private static func readAll(
    _ volume: any ExtentReporting, taskCount: Int, _ notebook: Notebook, _ progress: Progress, file: String
  ) async {
    do throws(BlockError) {
      let pieces = WorkShare.pieces(of: try await volume.dataExtents())
      progress.expect(pieces.reduce(0) { $0 + UInt64($1.count) })
      try await WorkShare.forEach(pieces, taskCount: taskCount) {
        (piece, workspace) async throws(BlockError) in
        _ = try await volume.read(at: piece.lowerBound, byteCount: piece.count, using: workspace)
        notebook.count(unchecked: UInt64(piece.count))
        progress.advance(by: UInt64(piece.count))
      }
      notebook.add(.note, file, "a raw image has no checksums; all of its data could be read")
    } catch {
      notebook.add(.damage, file, error.description)
    }
  }

  /// Where the tasks of an examination write down what they find.
  final class Notebook: Sendable {
    private let contents = Mutex(
      Verification(isSound: true, checkedBytes: 0, uncheckedBytes: 0, findings: []))

    func add(_ severity: Verification.Finding.Severity, _ file: String, _ text: String) {
      contents.withLock { contents in
        contents.findings.append(.init(severity: severity, file: file, text: text))
        if severity == .damage { contents.isSound = false }
      }
    }

    func count(checked: UInt64 = 0, unchecked: UInt64 = 0) {
      contents.withLock { contents in
        contents.checkedBytes += checked
        contents.uncheckedBytes += unchecked
      }
    }

    var verification: Verification { contents.withLock { $0 } }
  }
}

extension Image.OpenedLayer {
  /// Examines one layer.
  func verify(
    diskSize: UInt64, taskCount: Int, _ notebook: Image.Notebook, _ progress: Progress
  ) async {
    let sector = VolumeGeometry.sectorSize
    if let last = layer.segments.last, last.end * sector > diskSize {
      let beyond = layer.segments.count { $0.end * sector > diskSize }
      notebook.add(
        .warning, path, "\(beyond) extents lie beyond the disk's end at byte \(diskSize) and are not seen")
    }
    if layer.segments.isEmpty, let source = layer.sources.first, source.byteCount > 8192 {
      notebook.add(.warning, path, "the index is empty although the file has room for data")
    }
    if let zfile { await verifyBlocks(of: zfile, taskCount: taskCount, notebook, progress) }
    if let gzip { await verify(gzip, notebook, progress) }
    for (number, source) in layer.sources.enumerated() where number > 0 ? gzip == nil : zfile == nil {
      await verifyExtents(in: source, number, taskCount: taskCount, notebook, progress)
    }
  }

  /// Decompresses every block, whether an extent uses it or not.
  private func verifyBlocks(
    of zfile: ZFile, taskCount: Int, _ notebook: Image.Notebook, _ progress: Progress
  ) async {
    progress.expect(zfile.byteCount)
    // Every range is tried, so that one bad block does not hide another.
    let pieces = WorkShare.pieces(of: [0..<zfile.byteCount])
    let hasChecksums = zfile.hasBlockChecksums
    let path = self.path
    do throws(BlockError) {
      try await WorkShare.forEach(pieces, taskCount: taskCount) {
        (piece, workspace) async throws(BlockError) in
        for start in stride(from: piece.lowerBound, to: piece.upperBound, by: zfile.blockSize) {
          let count = Int(min(UInt64(zfile.blockSize), piece.upperBound - start))
          do throws(BlockError) {
            _ = try await zfile.bytes(at: start, byteCount: count, using: workspace)
            notebook.count(
              checked: hasChecksums ? UInt64(count) : 0, unchecked: hasChecksums ? 0 : UInt64(count))
          } catch {
            notebook.add(.damage, path, error.description)
          }
          progress.advance(by: UInt64(count))
        }
      }
    } catch {
      notebook.add(.damage, path, error.description)
    }
    if !hasChecksums {
      notebook.add(.note, path, "its blocks have no checksums: they decompress, but may hold wrong bytes")
    }
  }

  /// Reads every extent of a file that is not compressed.
  private func verifyExtents(
    in source: any ByteSource, _ number: Int, taskCount: Int, _ notebook: Image.Notebook, _ progress: Progress
  ) async {
    let sector = VolumeGeometry.sectorSize
    let ranges = layer.segments.filter { !$0.isZeroed && Int($0.source) == number }
      .map { $0.moffset * sector..<($0.moffset + $0.length) * sector }
    do throws(BlockError) {
      // A hole reads as zeros and cannot be damaged; a sparse file may have petabytes of them.
      let pieces = WorkShare.pieces(of: Self.parts(of: ranges, in: try await source.extentsWithData()))
      progress.expect(pieces.reduce(0) { $0 + UInt64($1.count) })
      try await WorkShare.forEach(pieces, taskCount: taskCount) {
        (piece, workspace) async throws(BlockError) in
        _ = try await source.bytes(at: piece.lowerBound, byteCount: piece.count, using: workspace)
        notebook.count(unchecked: UInt64(piece.count))
        progress.advance(by: UInt64(piece.count))
      }
      notebook.add(
        .note, source.name, "it is not compressed and has no checksums; all of its data could be read")
    } catch {
      notebook.add(.damage, source.name, error.description)
    }
  }

  /// The parts of some ranges that lie in others, which are in order and do not overlap.
  static func parts(of ranges: [Range<UInt64>], in extents: [Range<UInt64>]) -> [Range<UInt64>] {
    var parts: [Range<UInt64>] = []
    var first = 0
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      while first < extents.count, extents[first].upperBound <= range.lowerBound { first += 1 }
      var number = first
      while number < extents.count, extents[number].lowerBound < range.upperBound {
        parts.append(range.clamped(to: extents[number]))
        number += 1
      }
    }
    return parts
  }

  /// Decodes all of a gzip file, from its beginning and through its index.
  private func verify(_ gzip: GzipSource, _ notebook: Image.Notebook, _ progress: Progress) async {
    progress.expect(gzip.byteCount)
    do throws(BlockError) {
      try await gzip.check { count in
        notebook.count(checked: count)
        progress.advance(by: count)
      }
    } catch {
      notebook.add(.damage, error.object, error.description)
    }
  }
}
