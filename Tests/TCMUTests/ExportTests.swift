import BlockCore
import CAllocationCount
import DiskFormats
import Glibc
import LinuxIO
import SCSI
import Synchronization
import TestKit
import Testing
import TransportTCMU

/// The export's thread and its tasks, with a socket for the device's events and kicks.
@Suite(.serialized) struct ExportTests {
  private static let blockCount = 2048

  /// An export of a volume, and the kernel's end of it.
  private struct Fixture: ~Copyable {
    let kernel: SimulatedKernel
    let peer: Descriptor
    let export: TCMUExport
    let reports: Reports

    init(_ volume: any Volume, kernel: SimulatedKernel? = nil, ringByteCount: Int = 1 << 16) throws {
      let kernel = try kernel ?? SimulatedKernel(ringByteCount: ringByteCount, dataByteCount: 4 << 20)
      var ends: [Int32] = [-1, -1]
      #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
      let entry = UIODevice.Entry(number: 0, backstore: Backstore(hba: 0, name: "x"), configuration: "")
      let reports = Reports()
      export = try TCMUExport.start(
        LogicalUnit(volume, LogicalUnit.Options()),
        UIODevice(entry, memory: try kernel.map(), descriptor: Descriptor(owning: ends[0])),
        executor: BlockingExecutor(label: "test")
      ) { reports.add($0) }
      peer = Descriptor(owning: ends[1])
      self.kernel = kernel
      self.reports = reports
    }

    /// Says that something is in the ring.
    func ring() { #expect(write(peer.raw, "e", 1) == 1) }

    /// Waits for a kick.
    func waitForKick() {
      var bytes = [UInt8](repeating: 0, count: 64)
      #expect(read(peer.raw, &bytes, bytes.count) > 0)
    }

    /// Waits until all is answered, and takes the answers.
    func answers() -> [SimulatedKernel.Answer?] {
      var answers: [SimulatedKernel.Answer?] = []
      while true {
        answers += kernel.takeAnswers()
        if kernel.outstanding.isEmpty || answers.contains(nil) { return answers }
        waitForKick()
      }
    }
  }

  private final class Reports: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  private static func content() -> [UInt8] { OpsScript.content("rand", 7, blockCount * 512) }

  /// READ (10) or WRITE (10).
  private static func command(_ operation: UInt8, at block: Int, _ count: Int) -> [UInt8] {
    [operation, 0, 0, 0, UInt8(block >> 8), UInt8(block & 0xFF), 0, 0, UInt8(count), 0]
  }

  private func bytes(_ kernel: SimulatedKernel, _ range: Range<Int>) -> [UInt8] {
    range.map { kernel.memory.load($0, as: UInt8.self) }
  }

  /// More commands than there are slots, at once and waiting.
  @Test(arguments: [false, true])
  func readsAndWrites(waits: Bool) throws {
    let content = Self.content()
    let volume = MemoryVolume(content, waits: waits)
    let fixture = try Fixture(volume)
    let start = fixture.kernel.dataOffset
    for number in 0..<200 {
      let place = start + number * 8192
      // In two pieces, the second before the first.
      let pieces = [place + 4096..<place + 4096 + 1536, place..<place + 512]
      #expect(fixture.kernel.submit(Self.command(0x28, at: number * 5, 4), pieces) != nil)
      fixture.ring()
    }
    let answers = fixture.answers()
    #expect(answers.count == 200 && answers.allSatisfy { $0?.status == 0 })
    for number in 0..<200 {
      let place = start + number * 8192
      let read =
        bytes(fixture.kernel, place + 4096..<place + 5632) + bytes(fixture.kernel, place..<place + 512)
      #expect(read == Array(content[number * 2560..<number * 2560 + 2048]), "\(number)")
    }
    let data = start..<start + 1024
    #expect(fixture.kernel.submit(Self.command(0x2A, at: 100, 2), [data]) != nil)
    fixture.ring()
    #expect(fixture.answers().map { $0?.status } == [0])
    #expect(Array(volume.content[51200..<52224]) == bytes(fixture.kernel, data))
    fixture.export.stop()
    guard case .stopped = fixture.export.waitUntilEnd() else {
      Issue.record("not stopped")
      return
    }
    let counters = fixture.export.counters.snapshot
    #expect(counters.reads == 200 && counters.readBytes == 200 * 2048 && counters.writes == 1)
    #expect(counters.waited == (waits ? 201 : 0) && counters.failed == 0)
    #expect(fixture.reports.all.isEmpty)
  }

  @Test func whatIsLeftIsServedByTheNextOne() throws {
    let volume = MemoryVolume(Self.content())
    let kernel = try SimulatedKernel(ringByteCount: 1 << 16, dataByteCount: 4 << 20)
    let first = try Fixture(volume, kernel: kernel)
    first.export.stop()
    guard case .stopped = first.export.waitUntilEnd() else {
      Issue.record("not stopped")
      return
    }
    for _ in 0..<5 {
      _ = kernel.submit(Self.command(0x28, at: 0, 1), [kernel.dataOffset..<kernel.dataOffset + 512])
    }
    first.ring()
    #expect(kernel.takeAnswers().isEmpty)
    let second = try Fixture(volume, kernel: kernel)
    #expect(second.answers().count == 5)
    second.export.stop()
    _ = second.export.waitUntilEnd()
  }

  @Test func theDevicesEndIsNoticed() throws {
    let fixture = try Fixture(MemoryVolume(Self.content()))
    #expect(shutdown(fixture.peer.raw, Int32(SHUT_RDWR)) == 0)
    guard case .removed = fixture.export.waitUntilEnd() else {
      Issue.record("not removed")
      return
    }
  }

  @Test func aRingThatLiesEndsIt() throws {
    let fixture = try Fixture(MemoryVolume(Self.content()))
    fixture.kernel.publish(head: 64)
    fixture.ring()
    guard case .failed(let error) = fixture.export.waitUntilEnd() else {
      Issue.record("not failed")
      return
    }
    #expect(error.kind == .corrupt)
    #expect(fixture.reports.all == [error.description])
  }

  @Test func aFailureIsCounted() throws {
    let reason = BlockError(.ioError, step: "read", object: "it", cause: "it is gone")
    let fixture = try Fixture(UnservedVolume(MemoryVolume(Self.content()).geometry, failingWith: reason))
    let data = fixture.kernel.dataOffset
    _ = fixture.kernel.submit(Self.command(0x28, at: 0, 1), [data..<data + 512])
    fixture.ring()
    var answers = fixture.answers()
    // The first command of a new unit may get a unit attention.
    if answers.first??.sense[2] == 6 {
      _ = fixture.kernel.submit(Self.command(0x28, at: 0, 1), [data..<data + 512])
      fixture.ring()
      answers = fixture.answers()
    }
    #expect(answers.map { $0?.status } == [2] && answers.first??.sense[2] == 3)
    fixture.export.stop()
    _ = fixture.export.waitUntilEnd()
    #expect(fixture.export.counters.snapshot.failed == 1)
  }

  /// From the ring to the kick, on the device's own thread.
  @Test(.enabled(if: isOptimized, "an unoptimized build allocates by itself: use -c release"))
  func servingACommandAllocatesNothing() throws {
    let scratch = try Scratch()
    let file = try LinuxFile(try scratch.write("disk", Self.content()), for: .readWrite)
    let fixture = try Fixture(
      RawVolume(file, isReadOnly: false), ringByteCount: 1 << 17)
    let start = fixture.kernel.dataOffset
    func pass() -> UInt64 {
      for number in 0..<900 {
        let place = start + number * 4096
        _ = fixture.kernel.submit(
          Self.command(number % 2 == 0 ? 0x28 : 0x2A, at: number, 8),
          [place..<place + 2048, place + 2048..<place + 4096])
      }
      callocation_start("tcmu-")
      _ = write(fixture.peer.raw, "e", 1)
      while !fixture.kernel.isDone { usleep(100) }
      let count = callocation_stop()
      #expect(fixture.answers().count { $0?.status == 0 } == 900)
      return count
    }
    // The thread's workspace grows with its first commands.
    _ = pass()
    #expect(pass() == 0)
    fixture.export.stop()
    _ = fixture.export.waitUntilEnd()
  }

  private static var isOptimized: Bool {
    #if DEBUG
      false
    #else
      true
    #endif
  }
}
