import BlockCore
import DiskFormats
import Foundation
import LinuxIO
import Synchronization
import TestKit
import TransportFUSE

/// A volume as a block device, taken apart with the test.
final class TestDevice: Sendable {
  /// O_DIRECT, which the C library hides from Swift.
  static let direct: Int32 = 0o40000

  let path: String
  let export: FUSEExport
  let exportName: String
  let reports = Mutex<[String]>([])
  private let loop: Mutex<LoopDevice?>

  init(_ volume: any Volume, queueCount: Int = 2) throws {
    exportName = "ashlar-test-\(UUID().uuidString)"
    let reports = Reports()
    let started = try FUSEExport.start(
      volume, name: exportName, queueCount: queueCount, executor: BlockingExecutor(label: "test")
    ) { reports.add($0) }
    export = started.export
    let file = try started.openFile()
    let device = try LoopDevice.attach(
      file,
      .init(
        isReadOnly: volume.geometry.isReadOnly, blockSize: volume.geometry.logicalBlockSize, label: "test"))
    try file.close(step: "close", object: "the file")
    path = device.path
    loop = Mutex(device)
    self.log = reports
  }

  private let log: Reports

  private final class Reports: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  /// What the queues have reported.
  var reported: [String] { log.all }

  var counters: RequestCounters.Snapshot { export.counters }

  /// The name in /sys/block.
  var name: String { String(path.dropFirst(5)) }

  /// Lets the device go and waits until the export has ended.
  func detach() {
    loop.withLock { $0 = nil }
    export.waitUntilEnd()
  }
}

/// Disks on files, for tests of what stands on them.
enum TestDisk {
  static func raw(_ path: String, isReadOnly: Bool) async throws -> RawVolume {
    let file = try await LinuxFileSystem().open(path, for: isReadOnly ? .readOnly : .readWrite)
    return try RawVolume(file, isReadOnly: isReadOnly)
  }
}

/// Runs a program and returns its exit status and output.
@discardableResult
func run(_ program: String, _ arguments: String...) throws -> (status: Int32, output: String) {
  let process = Process()
  process.executableURL = URL(filePath: program)
  process.arguments = arguments
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  return (process.terminationStatus, output)
}
