import BlockCore
import FuzzKit
import Images

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  FuzzKit.run {
    _ = try ImageReference(String(decoding: input.prefix(64), as: UTF8.self), relativeTo: "/")
  }
  FuzzKit.run {
    let config = try ImageConfig(json: input, path: "config.v1.json")
    for lower in config.lowers { precondition(lower.candidates.count <= 4) }
  }
  return 0
}
