import BlockCore
import FuzzKit
import TCMUService

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  FuzzKit.run {
    let conf = try TCMUConf(input, path: "tcmu.conf")
    precondition(conf.notices.count <= 25 && conf.notices.allSatisfy { $0.utf8.count < 1000 })
    if let directory = conf.logDirectory {
      precondition(directory.hasPrefix("/") && directory.utf8.count < 4096 && !directory.utf8.contains(0))
    }
  }
  FuzzKit.run {
    let handler = try HandlerDescription(
      subtype: String(decoding: input.prefix(80), as: UTF8.self),
      configDescription: String(decoding: input, as: UTF8.self))
    precondition(handler.subtype.description.utf8.allSatisfy { $0 < 0x80 && $0 != 0x2F && $0 > 0x20 })
  }
  return 0
}
