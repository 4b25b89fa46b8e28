import BlockCore
import SCSI
import TestKit
import Testing

/// What commands say about the unit, the medium, and the commands.
@Suite struct ReportTests {
  private func operationCodes(_ options: UInt8, _ code: UInt8 = 0, _ action: UInt16 = 0) -> [UInt8] {
    [0xA3, 0x0C, options, code] + CDB.bytes(action) + [0, 0, 0x40, 0, 0, 0]
  }

  private func rows(_ data: [UInt8], size: Int) -> [[UInt8]] {
    stride(from: 4, to: data.count, by: size).map { Array(data[$0..<$0 + size]) }
  }

  @Test func everyCommandIsListedAndDescribed() async {
    let initiator = Initiator(ScriptedDisk())
    let data = await initiator.send(operationCodes(0), room: 0x4000).data
    let all = rows(data, size: 8)
    #expect(all.count == 48 && Int(data[2]) << 8 | Int(data[3]) == data.count - 4)
    for row in all {
      let hasAction = row[5] & 1 != 0
      let action = UInt16(row[3])
      let one = await initiator.send(operationCodes(hasAction ? 2 : 1, row[0], action), room: 256).data
      let length = [6, 10, 10, 0, 16, 12][Int(row[0] >> 5)]
      #expect(Int(row[7]) == length && one[1] == 3 && Int(one[3]) == length && one.count == 4 + length)
      #expect(one[4] == row[0] && (!hasAction || UInt16(one[5] & 0x1F) == action))
      #expect(
        await initiator.send(operationCodes(hasAction ? 1 : 2, row[0], action), room: 256).sense == 0x52400)
      #expect(await initiator.send(operationCodes(3, row[0], action), room: 256).data == one)
      // A command that is listed is known.
      var cdb = [row[0]] + [UInt8](repeating: 0, count: length - 1)
      if hasAction { cdb[1] = row[3] }
      #expect(await Initiator(ScriptedDisk()).send(cdb, room: 64).sense != 0x52000, "\(row)")
    }
  }

  @Test func usageShowsWhatIsLookedAt() async {
    let initiator = Initiator(ScriptedDisk())
    let write = await initiator.send(operationCodes(1, 0x2A), room: 256).data
    #expect(write == [0, 3, 0, 10, 0x2A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0])
    let timed = await initiator.send(operationCodes(0x81, 0x2A), room: 256).data
    #expect(timed[1] == 0x83 && Array(timed[14...]) == [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30])
    let all = await initiator.send(operationCodes(0x80), room: 0x4000).data
    #expect((all.count - 4) % 20 == 0 && rows(all, size: 20).allSatisfy { $0[5] & 2 != 0 && $0[9] == 10 })
  }

  @Test func commandsThatAreNotThereAreNotListed() async {
    let initiator = Initiator(ScriptedDisk())
    for (options, code, action) in [
      (1, 0xC0, 0), (2, 0x9E, 0x11), (3, 0x28, 1), (3, 0x48, 3), (2, 0x9E, 0x110),
    ] {
      let data = await initiator.send(
        operationCodes(UInt8(options), UInt8(code), UInt16(action)), room: 64
      ).data
      #expect(data == [0, 1, 0, 0], "\(code)")
    }
    #expect(await initiator.send(operationCodes(4), room: 64).sense == 0x52400)
  }

  @Test func whatIsUnknownIsRefused() async {
    let initiator = Initiator(ScriptedDisk())
    for code in (0...255).map(UInt8.init) {
      var known = false
      for action in (0..<32).map(UInt8.init) {
        let data = await initiator.send(operationCodes(3, code, UInt16(action)), room: 64).data
        if data[1] == 3 { known = true }
      }
      let cdb = [code, 0x1F] + [UInt8](repeating: 0, count: 14)
      let answer = await initiator.send(cdb, room: 64)
      if !known { #expect(answer.sense == 0x52000, "\(code)") }
    }
    #expect(await initiator.send([0x9E, 0x11] + Array(repeating: 0, count: 14)).sense == 0x52000)
    #expect(await initiator.send([0x83, 0x01] + Array(repeating: 0, count: 14)).sense == 0x52000)
  }

  @Test func taskManagementFunctions() async {
    let initiator = Initiator(ScriptedDisk())
    #expect(
      await initiator.send([0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], room: 4).data == [0x88, 0, 0, 0])
    let long = await initiator.send([0xA3, 0x0D, 0x80, 0, 0, 0, 0, 0, 0, 64, 0, 0], room: 64).data
    #expect(long == [0x88, 0, 0, 12] + Array(repeating: 0, count: 12))
  }

  @Test(arguments: [512, 4096]) func capacity(blockSize: Int) async {
    let initiator = Initiator(ScriptedDisk(blocks: 300, blockSize: blockSize)) {
      $0.physicalBlockBytes = 4096
    }
    let size = CDB.bytes(UInt32(blockSize))
    let short: [UInt8] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    #expect(await initiator.send(short, room: 8).data == [0, 0, 1, 43] + size)
    for (offset, value) in [(8, 1), (1, 1), (5, 9)] {
      var cdb = short
      cdb[offset] = UInt8(value)
      #expect(await initiator.send(cdb, room: 8).sense == 0x52400)
    }
    let long = [0x9E, 0x10] + Array(repeating: 0, count: 11) + [32, 0, 0] as [UInt8]
    let data = await initiator.send(long, room: 100).data
    let exponent: UInt8 = blockSize == 512 ? 3 : 0
    #expect(data == [0, 0, 0, 0, 0, 0, 1, 43] + size + [0, exponent, 0xC0] + Array(repeating: 0, count: 17))
    #expect(await initiator.send(long, room: 12).data.count == 12)
  }

  @Test func stoppedUnitsSaySo() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    #expect(await initiator.send([0x1B, 0, 0, 0, 0, 0]).result == .good)
    #expect(disk.log == [.flush])
    #expect(await initiator.send(CDB.testUnitReady).sense == 0x20402)
    #expect(await initiator.send(CDB.extent(0x28, 0, 1), room: 512).sense == 0x20402)
    #expect(await initiator.send(CDB.inquiry(), room: 255).status == .good)
    let sense = await initiator.send([3, 0, 0, 0, 252, 0], room: 252).data
    #expect(sense.count == 18 && sense[0] == 0x70 && sense[2] == 2 && sense[12] == 4 && sense[13] == 2)
    #expect(await initiator.send([0x1B, 0, 0, 0, 1, 0]).result == .good)
    #expect(await initiator.send(CDB.testUnitReady).result == .good)
    #expect(await initiator.send([0x1B, 0, 0, 0, 2, 0]).sense == 0x52400)
    #expect(await initiator.send([0x1B, 0, 0, 0, 0x10, 0]).sense == 0x52400)
  }

  @Test func growthIsToldOnce() async {
    let disk = ScriptedDisk(blocks: 100)
    let initiator = Initiator(disk)
    #expect(await initiator.send(CDB.extent(0x28, 100, 1), room: 512).sense == 0x52100)
    disk.grow(toBlocks: 200)
    initiator.unit.noteCapacityChange()
    #expect(await initiator.send(CDB.inquiry(), room: 255).status == .good)
    #expect(await initiator.send(CDB.extent(0x28, 100, 1), room: 512).sense == 0x62A09)
    #expect(await initiator.send(CDB.extent(0x28, 100, 1), room: 512).result == .good)
    #expect(await initiator.send([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], room: 8).data[3] == 199)
    initiator.unit.noteCapacityChange()
    let sense = await initiator.send([3, 1, 0, 0, 252, 0], room: 252).data
    #expect(sense == [0x72, 6, 0x2A, 9, 0, 0, 0, 0])
    #expect(await initiator.send([3, 0, 0, 0, 8, 0], room: 252).data == [0x70, 0, 0, 0, 0, 0, 0, 10])
  }

  @Test func diagnosticsReadTheDisk() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    #expect(await initiator.send([0x1D, 4, 0, 0, 0, 0]).result == .good)
    #expect(disk.log.map(\.operation) == [.read])
    disk.fail(.read, as: .ioError)
    #expect(await initiator.send([0x1D, 4, 0, 0, 0, 0]).sense == 0x43E03)
    #expect(await initiator.send([0x1D, 0x20, 0, 0, 0, 0]).sense == 0x52400)
    #expect(await initiator.send([0x1D, 0x10, 0, 0, 8, 0], room: 8).sense == 0x52400)
  }

  @Test func smallAnswers() async {
    let initiator = Initiator(ScriptedDisk())
    #expect(
      await initiator.send([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], room: 64).data == [0, 0, 0, 8]
        + Array(repeating: 0, count: 12))
    #expect(await initiator.send([0x37, 0, 0x1D, 0, 0, 0, 0, 0, 64, 0], room: 64).data == [0, 0x1D, 0, 0])
    #expect(
      await initiator.send([0xB7, 0x0D, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], room: 64).data == [
        0, 0x0D, 0, 0, 0, 0, 0, 0,
      ])
    #expect(
      await initiator.send([0x4D, 0, 0x40, 0, 0, 0, 0, 0, 64, 0], room: 64).data == [
        0, 0, 0, 3, 0, 0x0D, 0x2F,
      ])
    #expect(await initiator.send([0x4D, 0, 0x6F, 0, 0, 0, 0, 0, 64, 0], room: 64).data.count == 12)
    #expect(await initiator.send([0x4D, 0, 0x4D, 0, 0, 0, 0, 0, 64, 0], room: 64).data.count == 16)
    #expect(await initiator.send([0x4D, 0, 0x40, 0xFF, 0, 0, 0, 0, 64, 0], room: 64).data[0] == 0x40)
    #expect(await initiator.send([0x4D, 0, 0x42, 0, 0, 0, 0, 0, 64, 0], room: 64).sense == 0x52400)
    #expect(await initiator.send([0x1E, 0, 0, 0, 1, 0]).result == .good)
    #expect(await initiator.send(CDB.extent(0x2B, 2047, 0)).result == .good)
    #expect(await initiator.send(CDB.extent(0x2B, 2048, 0)).sense == 0x52100)
  }

  @Test func cachesAreFlushedAndFilled() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    for code: UInt8 in [0x35, 0x91] {
      #expect(await initiator.send(CDB.extent(code, 0, 0)).result == .good)
      #expect(await initiator.send(CDB.extent(code, 2040, 8, 2)).result == .good)
      #expect(await initiator.send(CDB.extent(code, 2040, 9)).sense == 0x52100)
    }
    #expect(disk.log == [.flush, .flush, .flush, .flush])
    disk.fail(.flush, as: .noSpace)
    #expect(await initiator.send(CDB.extent(0x35, 0, 0)).sense == 0x72707)
    for code: UInt8 in [0x34, 0x90] {
      #expect(await initiator.send(CDB.extent(code, 8, 16, 2)).result == .good)
      #expect(disk.log.last == BlockRequest(.read, at: 4096, byteCount: 8192))
      #expect(await initiator.send(CDB.extent(code, 2040, 9)).sense == 0x52100)
    }
  }

  /// What stands in the ring's memory of earlier commands is not given to who asks for nothing.
  @Test func aCommandWithoutDataReturnsNone() async {
    let answer = await Initiator(ScriptedDisk()).send(CDB.testUnitReady, room: 64)
    #expect(answer.result == CommandResult(.good, dataInCount: 0))
    #expect(answer.buffer.allSatisfy { $0 == 0 })
  }

  @Test func anAnswerOfAnInterceptorComesFirst() async {
    struct Stub: CommandInterceptor {
      func intercept(_ command: Command, using workspace: Workspace) async -> CommandResult? {
        command.cdb.operationCode == 0xC0 ? CommandResult(.busy) : nil
      }
    }
    let initiator = Initiator(ScriptedDisk()) { $0.interceptor = Stub() }
    #expect(await initiator.send([0xC0, 0, 0, 0, 0, 0]).status == .busy)
    let read = await initiator.send(CDB.extent(0x28, 0, 1), room: 512)
    #expect(read.result == .good && !read.wasServedNow)
    #expect(await initiator.send(CDB.inquiry(), room: 255).data.count == 96)
  }
}
