import BlockCore

extension ImageConfig {
  /// Every local file that it names as a part of the disk, as it spells them: layers, tars, indexes.
  public var files: [String] {
    let ofLowers = lowers.flatMap { $0.candidates + [$0.targetFile, $0.gzipIndex] }
    return (ofLowers + [upper.data, upper.index, upper.target, upper.gzipIndex]).filter { !$0.isEmpty }
  }
}
