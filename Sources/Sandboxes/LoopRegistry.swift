import BlockCore
import LinuxIO
import Logging
import Synchronization

/// The loop devices of an instance: one read-only one for each base, whoever asks and by whatever name.
///
/// All are autoclear: the kernel takes one apart when the last device that stands on it goes, also if we are not
/// there any more. Who stands on which one is in the journal. A loop device is known again by its label, which
/// holds the instance's ID, and by the file beneath it.
actor LoopRegistry {
  private let instance: String
  private let log: Logger
  /// Where the loop device of a base was last; whether it still is, the kernel says.
  private var numbers: [FileIdentity: Int] = [:]

  init(instance: String, _ log: Logger) {
    self.instance = instance
    self.log = log
  }

  private var baseLabel: String { "ashlar-\(instance)-base" }

  /// The loop device of a base, held.
  ///
  /// - Throws: `unavailable` without the loop driver, `exhausted` without a free device, others by errno.
  func device(of base: BaseImages.Base) throws(BlockError) -> LoopDevice {
    let identity = base.file.identity
    let label = baseLabel
    func isIt(_ status: LoopDevice.Status) -> Bool {
      status.file == identity && status.label == label && status.isReadOnly && status.isAutoclear
        && status.offset == 0
    }
    if let number = numbers.removeValue(forKey: identity) {
      // If that has gone there is none: nobody else makes one.
      if let device = try Self.held(number), let status = try device.status(), isIt(status) {
        numbers[identity] = number
        return device
      }
    } else if let device = try LoopDevice.find(where: isIt) {
      numbers[identity] = device.number
      return device
    }
    let device = try attach(base.file, .init(isReadOnly: true, blockSize: 512, label: label))
    numbers[identity] = device.number
    return device
  }

  /// Sets up a loop device over a file; without direct I/O, which is logged, where the file does not take it.
  ///
  /// - Throws: As `LoopDevice.attach`.
  nonisolated func attach(
    _ file: HeldFile, _ configuration: LoopDevice.Configuration
  ) throws(BlockError) -> LoopDevice {
    var configuration = configuration
    configuration.checksDirectIO = true
    let device = try LoopDevice.attach(file.descriptor, configuration)
    for notice in file.notices { log.notice("\(notice)") }
    if !device.hasDirectIO {
      log.notice("\(file.path): used without direct I/O; what is read is cached twice")
    }
    return device
  }

  /// A loop device, held; `nil` if the kernel has no device of that number any more.
  private static func held(_ number: Int) throws(BlockError) -> LoopDevice? {
    do throws(BlockError) {
      return try LoopDevice(holding: number)
    } catch  where error.kind == .notFound || error.kind == .unavailable {
      return nil
    }
  }

  /// What a part of a store is labelled with.
  nonisolated static func label(_ instance: String, _ storeID: String, _ part: String) -> String {
    // 63 bytes are kept: 7 + 8 + 1 + 32 + 1 + 5.
    "ashlar-\(instance)-\(storeID)-\(part)"
  }
}
