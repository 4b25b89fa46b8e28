import BlockCore
import BlockSim
import DiskFormats
import FuzzKit
import Hashing

/// The first byte chooses what the rest is: a volume's header or an image's, a note, the header of a sandbox's store, with its
/// checksum put right or not, or the exceptions of a store.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  var bytes = Array(input.dropFirst())
  switch mode % 4 {
  case 0:
    if let header = VolumeHeader(bytes) { precondition(Array(bytes[..<42]) == header.encoded) }
    let image = bytes
    FuzzKit.run {
      let format = try await ContainerFormat.of(MemorySource(image), using: Workspace())
      // What looks like a volume of ours is none.
      if VolumeHeader(image) != nil { precondition(format == nil || image.count >= 512) }
    }
  case 1:
    if bytes.count < VolumeRecord.byteCount { return 0 }
    let record = bytes
    FuzzKit.run {
      let digest = try SHA256.digest(of: record.span.bytes.extracting(0..<72))
      let sound = Array(record[..<72]) + digest.bytes[..<16]
      guard let found = try VolumeRecord.read(sound) else { return }
      let again = try VolumeRecord.read(try found.encoded())
      precondition(again == found)
    }
  case 2:
    bytes += [UInt8](repeating: 0, count: max(0, SandboxStoreHeader.byteCount - bytes.count))
    let header = Array(bytes[..<SandboxStoreHeader.byteCount])
    FuzzKit.run {
      let digest = try SHA256.digest(of: header.span.bytes.extracting(0..<header.count - 32))
      let found = try SandboxStoreHeader(Array(header.dropLast(32)) + digest.bytes, file: "fuzz")
      let again = try SandboxStoreHeader(try found.encoded(), file: "fuzz")
      precondition(again == found)
    }
  default:
    let store = bytes
    FuzzKit.run {
      let found = try await SnapshotExceptions(
        MemorySource(store), diskByteCount: 1 << 20, present: UInt64(store.count), using: Workspace())
      precondition(found.entries.count <= 256)
      for entry in found.entries { precondition(entry.stored < UInt64(store.count) / 4096) }
    }
  }
  return 0
}
