import BlockCore
import DeviceMapper
import Glibc
import LinuxIO

/// The checks of the room `DeviceMapper` on a real kernel; Tests/Kernel/devicemapper runs it in a virtual
/// machine and holds what it leaves against `dmsetup`, which knows nothing of us.
///
/// It prints one line a check, and ends with status 1 at the first that fails.
@main
struct DeviceMapperCheck {
  let mapper: DeviceMapper
  /// The disks that the devices stand on: 64 MiB each, all zeros.
  let disks: [DeviceNumbers]
  let paths: [String]

  static func main() async {
    do {
      let paths = Array(CommandLine.arguments.dropFirst())
      var disks: [DeviceNumbers] = []
      for path in paths { disks.append(try BlockDevice.numbers(ofNode: path)) }
      guard disks.count == 2 else { fail("call it with two disks") }
      try await DeviceMapperCheck(mapper: try DeviceMapper(), disks: disks, paths: paths).run()
    } catch {
      fail("\(error)")
    }
  }

  static func fail(_ text: String) -> Never {
    print("FAILED  \(text)")
    exit(1)
  }

  func expect(_ isRight: Bool, _ what: @autoclosure () -> String, line: Int = #line) {
    if !isRight { Self.fail("line \(line): \(what())") }
  }

  func run() async throws {
    try await check("create, look at, list, remove", lifeOfADevice)
    try await check("a taken name, a taken UUID, a foreign device", namesThatAreTaken)
    try await check("what the kernel refuses, with its words, leaves nothing", refusedTables)
    try await check("grow a linear device", growing)
    try await check("rename", renaming)
    try await check("suspend holds back writes, resume lets them go", suspending)
    try await check("busy after the deadline, with who it is", busyDevice)
    try await check("deferred removal", deferredRemoval)
    try await check("cancelled removal leaves the device", cancelledRemoval)
    try await check("snapshot, its status, invalid when full", snapshots)
    try await check("thin pool, thin device, its snapshot, ENOSPC", thinDevices)
    try await check("error and zero", errorAndZero)
    try await check("targets have versions", versions)
    try await check("200 devices at once", manyDevices)
  }

  private func check(_ name: String, _ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch {
      Self.fail("\(name): \(error)")
    }
    for (left, _) in try mapper.list() where left.hasPrefix("check") { Self.fail("\(name): \(left) is left") }
    for node in SmallFile.entries(DeviceMapper.directory) where node.hasPrefix("check") {
      Self.fail("\(name): the node \(node) is left")
    }
    print("ok      \(name)")
  }

  func uuid(_ name: String) -> String { "ASHLAR-CHECK-\(name)" }

  func linear(_ sectors: UInt64, start: UInt64 = 0) -> Table {
    Table(sectors: sectors, .linear(disks[0], start: start))
  }

  /// Runs a body that has to fail, and gives its error.
  func failure(line: Int = #line, _ body: () async throws(BlockError) -> Void) async -> BlockError {
    do throws(BlockError) {
      try await body()
    } catch {
      return error
    }
    Self.fail("line \(line): there was no error")
  }
}
