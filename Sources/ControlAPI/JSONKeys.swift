import FoundationEssentials

/// The keys of a JSON object, each as often as it is there: decoders take one of several without a word.
enum JSONKeys {
  /// Finds a key that the outermost object has more than once; `nil` if there is none.
  ///
  /// - Parameter bytes: A JSON object that a decoder has read.
  static func twice(in bytes: [UInt8]) -> String? {
    var seen: Set<String> = []
    var depth = 0
    var isKeyNext = false
    var position = 0
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\""):
        let end = endOfString(bytes, position)
        if depth == 1, isKeyNext, let key = text(bytes[position..<end]), !seen.insert(key).inserted {
          return key
        }
        isKeyNext = false
        position = end
        continue
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        depth += 1
        isKeyNext = true
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      case UInt8(ascii: ","): isKeyNext = true
      default: break
      }
      position += 1
    }
    return nil
  }

  /// Where a string ends that begins at a position: behind its second quotation mark.
  private static func endOfString(_ bytes: [UInt8], _ start: Int) -> Int {
    var position = start + 1
    while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
      position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
    }
    return min(position + 1, bytes.count)
  }

  private static func text(_ literal: ArraySlice<UInt8>) -> String? {
    try? JSONDecoder().decode(String.self, from: Data(literal))
  }
}
