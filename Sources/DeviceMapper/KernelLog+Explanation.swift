import BlockCore
import LinuxIO

extension KernelLog {
  /// An error with what device-mapper has said in the meantime; that of others' tables may be among it.
  func explained(_ error: BlockError) -> BlockError {
    let prefix = "device-mapper: "
    return error.explained(
      byKernel: lines { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : nil })
  }
}
