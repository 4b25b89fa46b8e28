import BlockCore
import FuzzKit
import Handlers

/// The configuration of a backstore, which anybody may write into configfs who may make one.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
  FuzzKit.run {
    let configuration = try HandlerConfiguration(text)
    // Nothing is lost, and the name is safe to look a file up by.
    precondition("\(configuration.subtype)/\(configuration.rest)".utf8.elementsEqual(text.utf8))
    precondition(!configuration.subtype.utf8.contains(UInt8(ascii: "/")))
  }
  return 0
}
