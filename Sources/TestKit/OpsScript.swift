import BlockSim

/// A script of writes and discards, as they come with the fixtures, replayed on plain memory.
public enum OpsScript {
  /// The disk after a script, beginning with some content.
  public static func replay(_ text: String, on disk: inout [UInt8]) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      guard let verb = words.first, verb != "#", words.count >= 3 else { continue }
      let offset = number(words[1])
      let length = number(words[2])
      guard offset + length <= disk.count else { continue }
      switch verb {
      case "w":
        disk.replaceSubrange(
          offset..<offset + length, with: content(words[3], UInt64(number(words[4])), length))
      case "d": disk.replaceSubrange(offset..<offset + length, with: repeatElement(0, count: length))
      default: fatalError("unknown verb \(verb)")
      }
    }
  }

  /// A number with a binary suffix.
  static func number(_ word: String) -> Int {
    let shift = ["K": 10, "M": 20, "G": 30][word.suffix(1)] ?? 0
    guard let value = Int(shift == 0 ? word : String(word.dropLast())) else {
      fatalError("no number: \(word)")
    }
    return value << shift
  }

  /// What a write of a kind and a seed holds.
  public static func content(_ kind: String, _ seed: UInt64, _ length: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(length + 64)
    switch kind {
    case "rand":
      var generator = SplitMix64(seed: seed)
      while bytes.count < length {
        withUnsafeBytes(of: generator.next().littleEndian) { bytes += $0 }
      }
    case "text":
      var line = 0
      while bytes.count < length {
        let digits = String(line)
        let padded = String(repeating: "0", count: max(0, 8 - digits.count)) + digits
        bytes += Array("seed \(seed) line \(padded) overlaybd peer text\n".utf8)
        line += 1
      }
    case "byte": bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: seed), count: length)
    case "zero": bytes = [UInt8](repeating: 0, count: length)
    default: fatalError("unknown kind \(kind)")
    }
    return Array(bytes.prefix(length))
  }
}
