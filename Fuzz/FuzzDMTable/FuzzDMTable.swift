import BlockCore
import DeviceMapper
import FuzzKit

/// The first byte says whether the rest is a table, or a target's type and status with a newline between.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  let text = String(decoding: input.dropFirst(), as: UTF8.self)
  FuzzKit.run {
    if mode & 1 == 0 {
      let table = try Table(text)
      // What was understood is written so that it is understood again.
      let again = try Table(table.description)
      precondition(again == table, "\(table)")
      _ = table.sectorCount
    } else {
      let parts = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
      _ = try TargetStatus(type: String(parts[0]), text: parts.count > 1 ? String(parts[1]) : "")
    }
  }
  return 0
}
