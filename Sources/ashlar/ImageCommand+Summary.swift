import Images

extension ImageCommand.Info {
  /// Prints what an image is.
  func show(_ summary: Image.Description) {
    Output.line("image         \(summary.image)")
    Output.line("format        \(summary.format)")
    Output.line("virtual size  \(Output.size(summary.virtualSize)) (\(summary.virtualSize) bytes)")
    if !summary.layers.isEmpty {
      Output.line("layers        \(summary.layers.count), merged into \(summary.segments) segments")
      Output.line("uuid chain    \(chain(summary))")
    }
    for (number, layer) in summary.layers.enumerated() { show(layer, number) }
    for notice in summary.notices { Output.line("note          \(notice)") }
  }

  private func chain(_ summary: Image.Description) -> String {
    switch summary.uuidChain {
    case true?: "each parent is the layer beneath"
    case false?: "BROKEN: a parent is not the layer beneath"
    case nil: "no layer names a parent"
    }
  }

  private func show(_ layer: Image.Description.LayerDescription, _ number: Int) {
    Output.line("")
    Output.line("layer \(number)\(number == 0 ? " (bottom)" : "")")
    var lines = [
      ("file", "\(layer.path) (\(Output.size(layer.fileSize)))"),
      ("kind", ([layer.form] + layer.wrapping.reversed().map { "in \($0)" }).joined(separator: " ")),
    ]
    if let compression = layer.compression, let blockSize = layer.blockSize {
      let ratio = ((layer.compressionRatio ?? 1) * 100).rounded() / 100
      let checksums = layer.blockChecksums == true ? "with checksums" : "WITHOUT checksums"
      lines.append(
        (
          "compressed",
          "\(compression), blocks of \(Output.size(UInt64(blockSize))) \(checksums), \(Output.size(layer.layerSize)) "
            + "when decompressed, ratio \(ratio)"
        ))
    }
    lines += [
      ("disk size", layer.virtualSize == 0 ? "inherited" : Output.size(layer.virtualSize)),
      (
        "extents",
        "\(layer.extents), \(Output.size(layer.dataBytes)) of data and \(Output.size(layer.zeroedBytes)) of zeros"
      ),
      ("uuid", "\(layer.uuid), parent \(layer.parentUUID)"),
    ]
    if !layer.userTag.isEmpty { lines.append(("message", layer.userTag)) }
    if let target = layer.target { lines.append(("tar", target)) }
    for (key, value) in lines {
      Output.line("  " + key + String(repeating: " ", count: 12 - key.count) + value)
    }
  }
}
