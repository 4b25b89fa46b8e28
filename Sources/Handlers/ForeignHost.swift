import BlockCore
import CAshlarHandler
import Synchronization

/// What the engine offers to handlers in shared objects: `struct ashlar_host`.
///
/// Proof for `@unchecked Sendable`: the table is written once, before anybody else has the object, and never again;
/// its functions may be called from any thread.
final class ForeignHost: @unchecked Sendable {
  /// The one of this process; handlers keep its address for as long as the process lives.
  static let shared = ForeignHost()

  let table: UnsafePointer<ashlar_host>
  /// The disk that was opened last, or is being opened.
  let current = Mutex<ForeignDevice?>(nil)

  private init() {
    let table = UnsafeMutablePointer<ashlar_host>.allocate(capacity: 1)
    table.initialize(
      to: ashlar_host(
        version: ASHLAR_HANDLER_VERSION, size: UInt32(MemoryLayout<ashlar_host>.size),
        log_level: Int32(ASHLAR_LOG_INFO), reserved: 0,
        log: { device, level, message in
          guard let message else { return }
          // tcmu-runner's handlers often do not say which disk they speak of; there is only one.
          let speaker = device.map { ForeignDevice.at($0) } ?? ForeignHost.shared.current.withLock { $0 }
          speaker?.log(level, String(cString: message))
        },
        complete: { completion, result in
          guard let completion else { return }
          ForeignCompletion.finish(completion, result)
        },
        resized: { device, byteCount in
          guard let device else { return }
          ForeignDevice.at(device).onResize(byteCount)
        },
        serial: { device, buffer, capacity in
          guard let device, let buffer, capacity > 0 else { return 0 }
          return ForeignDevice.at(device).copySerial(to: buffer, capacity)
        }))
    self.table = UnsafePointer(table)
  }
}

/// What a handler in a shared object calls us about: one disk.
final class ForeignDevice: Sendable {
  private let serial: @Sendable () -> String
  private let write: @Sendable (HandlerMessage) -> Void
  /// To be told the new size in bytes.
  let onResize: @Sendable (UInt64) -> Void

  init(_ opening: HandlerOpening, onResize: @escaping @Sendable (UInt64) -> Void) {
    serial = opening.serial
    write = opening.log
    self.onResize = onResize
  }

  /// The device that a handler passes back; it lives until the handler has closed the disk.
  static func at(_ address: OpaquePointer) -> ForeignDevice {
    Unmanaged<ForeignDevice>.fromOpaque(UnsafeRawPointer(address)).takeUnretainedValue()
  }

  func log(_ level: Int32, _ text: String) {
    let level: HandlerMessage.Level =
      switch Int(level) {
      case ...ASHLAR_LOG_ERROR: .error
      case ...ASHLAR_LOG_WARNING: .warning
      case ...ASHLAR_LOG_INFO: .info
      default: .debug
      }
    write(HandlerMessage(level, text))
  }

  func copySerial(to buffer: UnsafeMutablePointer<CChar>, _ capacity: Int) -> Int {
    let serial = self.serial()
    return serial.withCString { text in
      let count = serial.utf8.count
      let kept = min(count, capacity - 1)
      buffer.update(from: text, count: kept)
      buffer[kept] = 0
      return count
    }
  }
}
