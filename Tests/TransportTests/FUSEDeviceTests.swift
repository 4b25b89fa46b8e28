import BlockCore
import BlockSim
import CLinux
import Foundation
import LinuxIO
import TestKit
import Testing
import TransportFUSE

/// Tests with real devices, one after the other: they look at what is left on the host.
@Suite(.serialized) struct SerialDeviceTests {}

extension SerialDeviceTests {
  /// A volume through FUSE and a loop device, as the kernel's block layer sees it.
  @Suite struct FUSEDeviceTests {
    private let size = 8 << 20

    private func contents(of path: String) throws -> [UInt8] {
      // Foundation does not read devices.
      let size =
        path.hasPrefix("/dev/loop") ? try BlockDevice.byteCount(ofNode: path) : 0
      guard size > 0 else { return Array(try Data(contentsOf: URL(filePath: path))) }
      let file = try Descriptor.open(path, O_RDONLY | TestDevice.direct)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(size), alignment: 4096)
      defer { buffer.deallocate() }
      try #require(pread(file.raw, buffer.baseAddress, buffer.count, 0) == buffer.count)
      return Array(buffer)
    }

    @Test func readsAsTheVolumeAndGoesWithoutATrace() throws {
      let content = OpsScript.content("rand", 1, size)
      let device = try TestDevice(MemoryVolume(content, isReadOnly: true))
      #expect(try contents(of: device.path) == content)
      #expect(BlockDevice.attribute("ro", of: device.name) == "1")
      #expect(BlockDevice.attribute("loop/dio", of: device.name) == "1")
      #expect(BlockDevice.attribute("loop/autoclear", of: device.name) == "1")
      #expect(LoopDevice.number(backedBy: device.exportName).map { "/dev/loop\($0)" } == device.path)
      #expect(device.counters.reads > 0 && device.counters.readBytes >= UInt64(size))
      device.detach()
      #expect(LoopDevice.number(backedBy: device.exportName) == nil)
      #expect(device.reported == [])
    }

    @Test func aReadOnlyDeviceRefusesWrites() throws {
      let device = try TestDevice(MemoryVolume([UInt8](repeating: 0, count: size), isReadOnly: true))
      let result = try run("/bin/dd", "if=/dev/zero", "of=\(device.path)", "bs=4096", "count=1", "conv=fsync")
      #expect(result.status != 0)
      #expect(device.counters.writes == 0)
      device.detach()
    }

    /// Flush, FUA, discard and write-zeroes reach the file.
    @Test(arguments: ["/tmp", "/dev/shm"])
    func whatTheBlockLayerAsksReachesTheFile(directory: String) async throws {
      let path = "\(directory)/ashlar-test-\(UUID().uuidString)"
      defer { try? FileManager.default.removeItem(atPath: path) }
      let content = OpsScript.content("rand", 2, size)
      try Data(content).write(to: URL(filePath: path))
      let device = try TestDevice(try await TestDisk.raw(path, isReadOnly: false))
      var expected = content
      let fresh = OpsScript.content("rand", 3, 1 << 20)
      let scratch = try Scratch()
      let source = try scratch.write("fresh", fresh)
      try run(
        "/bin/dd", "if=\(source)", "of=\(device.path)", "bs=64k", "seek=16", "oflag=direct",
        "conv=notrunc,fsync")
      expected.replaceSubrange(1 << 20..<2 << 20, with: fresh)
      #expect(device.counters.writes > 0 && device.counters.writtenBytes >= 1 << 20)
      #expect(device.counters.flushes > 0)
      #expect(try contents(of: path) == expected)

      #expect(try run("/sbin/blkdiscard", "-o", "\(4 << 20)", "-l", "\(1 << 20)", device.path).status == 0)
      expected.replaceSubrange(4 << 20..<5 << 20, with: repeatElement(0, count: 1 << 20))
      #expect(try run("/sbin/blkdiscard", "-z", "-o", "\(6 << 20)", "-l", "65536", device.path).status == 0)
      expected.replaceSubrange((6 << 20)..<(6 << 20) + 65536, with: repeatElement(0, count: 65536))
      #expect(device.counters.discards >= 2)
      #expect(try contents(of: path) == expected)
      #expect(try contents(of: device.path) == expected)
      // The discarded range has given its space back.
      let file = try await LinuxFileSystem().open(path, for: .readOnly)
      let extents = try await file.dataExtents(from: 0)
      #expect(!extents.contains { $0.overlaps(4 << 20..<5 << 20) }, "\(extents)")
      #expect(device.counters.failed == 0, "\(device.reported)")
      device.detach()
    }

    @Test func whatHasToWaitIsServedByTasks() async throws {
      let content = OpsScript.content("rand", 4, size)
      let device = try TestDevice(MemoryVolume(content, isReadOnly: true, waits: true))
      // More readers than a queue has slots, so that queues wait for tasks, too.
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for reader in 0..<8 {
          group.addTask {
            try run(
              "/bin/dd", "if=\(device.path)", "of=/dev/null", "bs=4096", "skip=\(reader * 64)", "count=1024",
              "iflag=direct"
            ).status == 0
          }
        }
        for try await isGood in group { #expect(isGood) }
      }
      #expect(try contents(of: device.path) == content)
      #expect(device.counters.waited >= 8 * 1024)
      #expect(device.counters.waited >= device.counters.reads)
      device.detach()
    }

    @Test func anErrorReachesTheReaderAndTheNextReadIsFine() throws {
      let content = OpsScript.content("rand", 5, size)
      let volume = FaultVolume(
        MemoryVolume(content, isReadOnly: true), rules: [.init(.number(1), range: 65536..<69632)],
        random: SeededRandom(seed: 1))
      let device = try TestDevice(volume)
      func read() throws -> Int32 {
        try run(
          "/bin/dd", "if=\(device.path)", "of=/dev/null", "bs=4096", "skip=16", "count=1", "iflag=direct"
        ).status
      }
      #expect(try read() != 0)
      #expect(device.reported.contains { $0.contains("65536") })
      #expect(try read() == 0)
      #expect(device.counters.failed == 1)
      device.detach()
    }

    /// Two disks of 4096-byte blocks, and reads of every size at every place of a small one.
    @Test func blocksOf4096Work() throws {
      let content = OpsScript.content("rand", 6, 1 << 20)
      let device = try TestDevice(MemoryVolume(content, isReadOnly: true, logicalBlockSize: 4096))
      #expect(BlockDevice.attribute("queue/logical_block_size", of: device.name) == "4096")
      #expect(try contents(of: device.path) == content)
      device.detach()
    }

    @Test func aDeviceThatIsHeldGoesWithItsHolder() throws {
      let device = try TestDevice(MemoryVolume(OpsScript.content("rand", 7, size), isReadOnly: true))
      let holder = try Descriptor.open(device.path, O_RDONLY)
      let thread = try WorkerThread(name: "detach") { device.detach() }
      usleep(200_000)
      #expect(LoopDevice.number(backedBy: device.exportName) != nil)
      var byte: UInt8 = 0
      #expect(pread(holder.raw, &byte, 1, 4096) == 1)
      try holder.close(step: "close", object: device.path)
      thread.join()
      #expect(LoopDevice.number(backedBy: device.exportName) == nil)
    }

    @Test func manyComeAndGoWithoutLeaks() throws {
      func descriptors() -> Int { SmallFile.entries("/proc/self/fd").count }
      func threads() -> Int { SmallFile.entries("/proc/self/task").count }
      let volume = MemoryVolume(OpsScript.content("rand", 8, 1 << 20), isReadOnly: true)
      try TestDevice(volume).detach()
      let before = (descriptors(), threads())
      for _ in 0..<30 {
        let device = try TestDevice(volume)
        _ = try contents(of: device.path)
        device.detach()
      }
      // Other suites open files meanwhile; a leak would be 30 of them.
      #expect(descriptors() < before.0 + 15)
      #expect(threads() < before.1 + 15)
    }

    /// Who kills a server that has not opened its file yet can end the connection: its number is known before.
    @Test func aConnectionIsKnownBeforeItsFileIsOpened() throws {
      func start() throws(BlockError) -> FUSEExport.Started {
        try FUSEExport.start(
          NullVolume(VolumeGeometry(byteCount: 1 << 20, isReadOnly: true)), name: "known", queueCount: 2,
          executor: BlockingExecutor(label: "test")
        ) { _ in }
      }
      let started = try start()
      let number = started.connection
      let file = try started.openFile()
      var status = stat()
      #expect(fstat(file.raw, &status) == 0 && clinux_minor(status.st_dev) == number)
      let other = try start()
      try FUSEControl.abort(other.connection)
      do throws(BlockError) {
        _ = try other.openFile()
        Issue.record("it was opened")
      } catch {
        #expect([ENOTCONN, ECONNABORTED].contains(error.errno?.rawValue), "\(error)")
      }
    }
  }
}
