import BlockCore
import SCSI
import TestKit
import Testing

/// UNMAP, WRITE SAME, GET LBA STATUS, FORMAT UNIT.
@Suite struct ProvisioningTests {
  private func unmapList(_ ranges: [(UInt64, UInt32)], length: Int? = nil) -> [UInt8] {
    let count = length ?? ranges.count * 16
    return CDB.bytes(UInt16(count + 6)) + CDB.bytes(UInt16(count)) + [0, 0, 0, 0]
      + ranges.flatMap { CDB.bytes($0.0) + CDB.bytes($0.1) + [0, 0, 0, 0] }
  }

  private func unmap(_ count: Int, anchor: UInt8 = 0) -> [UInt8] {
    [0x42, anchor, 0, 0, 0, 0, 0] + CDB.bytes(UInt16(count)) + [0]
  }

  @Test func unmappedBlocksReadAsZeros() async {
    let disk = ScriptedDisk()
    var expected = disk.content
    for range in [3 * 512..<10 * 512, 2047 * 512..<2048 * 512] {
      expected.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
    let list = unmapList([(3, 5), (5, 5), (100, 0), (2048, 0), (2047, 1)])
    let answer = await Initiator(disk).send(unmap(list.count), data: list, pieces: [5, list.count - 5])
    #expect(answer.result == .good && disk.content == expected)
    #expect(disk.log.allSatisfy { $0.operation == .writeZeroes && $0.flags == .mayUnmap })
  }

  @Test func unmapChecksAllBeforeItDoesAnything() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    func sense(_ list: [UInt8], _ count: Int? = nil, anchor: UInt8 = 0) async -> Int? {
      await initiator.send(unmap(count ?? list.count, anchor: anchor), data: list).sense
    }
    #expect(await sense([], 0) == nil)
    #expect(await sense(unmapList([])) == nil)
    #expect(await sense(unmapList([]), 7) == 0x51A00)
    #expect(await sense([], 24) == 0x51A00)
    #expect(await sense(unmapList([(0, 1)]), anchor: 1) == 0x52400)
    #expect(await sense(unmapList([(0, 1), (2048, 1)])) == 0x52100)
    #expect(await sense(unmapList([(0, 1), (.max, .max)])) == 0x52100)
    #expect(await sense(unmapList(Array(repeating: (0, 1), count: 257))) == 0x52600)
    #expect(await sense(unmapList(Array(repeating: (0, 0), count: 256))) == nil)
    // A list that says more than has come.
    #expect(await sense(unmapList([], length: 160)) == nil)
    #expect(disk.log.isEmpty)
    disk.fail(.writeZeroes, as: .ioError)
    #expect(await sense(unmapList([(0, 1)])) == 0x30C00)
  }

  @Test func aVolumeThatCannotUnmapDoesNotSayItCan() async {
    for disk in [ScriptedDisk(canDiscard: false), ScriptedDisk(isReadOnly: true)] {
      let initiator = Initiator(disk)
      let list = unmapList([(0, 1)])
      #expect(await initiator.send(unmap(list.count), data: list).sense == 0x52000)
      #expect(await initiator.send([0xA3, 0x0C, 1, 0x42, 0, 0, 0, 0, 1, 0, 0, 0], room: 256).data[1] == 1)
      #expect(await initiator.send(CDB.inquiry(page: 0xB2), room: 255).data[4...] == [0, 0, 0, 0])
      #expect(await initiator.send(CDB.inquiry(page: 0xB0), room: 255).data[20..<36].allSatisfy { $0 == 0 })
      #expect(
        await initiator.send([0x9E, 0x10] + Array(repeating: 0, count: 11) + [32, 0, 0], room: 32).data[14]
          == 0)
    }
    let sense = await Initiator(ScriptedDisk(canDiscard: false)).send(
      CDB.extent(0x93, 0, 1, 0x08), room: 512
    ).sense
    #expect(sense == 0x52400)
  }

  @Test(arguments: [0x41, 0x93] as [UInt8], [512, 4096])
  func writeSameWritesOneBlockOverAll(code: UInt8, blockSize: Int) async {
    let disk = ScriptedDisk(blockSize: blockSize)
    let block = OpsScript.content("rand", 8, blockSize)
    var expected = disk.content
    for lba in 1..<2047 { expected.replaceSubrange(lba * blockSize..<(lba + 1) * blockSize, with: block) }
    for options: UInt8 in [0, 8] {
      // With UNMAP as well: the block is not zeros, and has to be there afterwards.
      let answer = await Initiator(disk).send(
        CDB.extent(code, 1, 2046, options), data: block, pieces: [1, blockSize - 1])
      #expect(answer.result == .good && disk.content == expected)
    }
    #expect(!disk.log.contains { $0.operation == .writeZeroes })
  }

  @Test func writeSameOfZerosMakesHolesIfItMay() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let zeros = [UInt8](repeating: 0, count: 512)
    #expect(await initiator.send(CDB.extent(0x93, 0, 8, 0x08), data: zeros).result == .good)
    #expect(await initiator.send(CDB.extent(0x93, 8, 8, 0x09)).result == .good)
    #expect(await initiator.send(CDB.extent(0x41, 16, 8, 0x08), data: zeros).result == .good)
    #expect(await initiator.send(CDB.extent(0x93, 24, 8, 0x01)).result == .good)
    #expect(disk.log.map(\.operation) == Array(repeating: .writeZeroes, count: 4))
    #expect(disk.log.map(\.flags) == [.mayUnmap, .mayUnmap, .mayUnmap, []])
    #expect(disk.content[..<(32 * 512)].allSatisfy { $0 == 0 } && disk.content[32 * 512 + 1] != 0)
  }

  @Test(arguments: [0x41, 0x93] as [UInt8])
  func writeSameIsChecked(code: UInt8) async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    for options: UInt8 in [0x20, 0x80, 0x10, 0x18, 0x04, 0x02] {
      #expect(await initiator.send(CDB.extent(code, 0, 1, options), room: 512).sense == 0x52400, "\(options)")
    }
    #expect(await initiator.send(CDB.extent(code, 0, 0), room: 512).sense == 0x52400)
    #expect(await initiator.send(CDB.extent(code, 2047, 2), room: 512).sense == 0x52100)
    #expect(await initiator.send(CDB.extent(code, 0, 1), room: 511).sense == 0x52400)
    #expect(await initiator.send(CDB.extent(code, 0, 1)).sense == 0x52400)
    #expect(disk.log.isEmpty)
    #expect(
      await Initiator(ScriptedDisk(blocks: 200_000)).send(CDB.extent(0x93, 0, 131073, 1)).sense == 0x52400)
  }

  @Test func theStatusOfBlocksComesFromTheVolume() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    func status(_ lba: UInt64, room: Int) async -> [UInt8] {
      let cdb = [0x9E, 0x12] + CDB.bytes(lba) + CDB.bytes(UInt32(room)) + [0, 0]
      return await initiator.send(cdb, room: room).data
    }
    _ = await initiator.send(CDB.extent(0x2A, 10, 20), room: 20 * 512)
    _ = await initiator.send(CDB.extent(0x2A, 30, 1), room: 512)
    let all = await status(0, room: 4096)
    func run(_ lba: UInt64, _ count: UInt32, _ state: UInt8) -> [UInt8] {
      CDB.bytes(lba) + CDB.bytes(count) + [state, 0, 0, 0]
    }
    let expected = run(0, 10, 1) + run(10, 21, 0) + run(31, 2017, 1)
    #expect(all == [0, 0, 0, 52, 0, 0, 0, 0] + expected)
    #expect(await status(15, room: 24) == [0, 0, 0, 20, 0, 0, 0, 0] + run(15, 16, 0))
    #expect(await status(2047, room: 40) == [0, 0, 0, 20, 0, 0, 0, 0] + run(2047, 1, 1))
    #expect(await status(0, room: 5) == [0, 0, 0, 20, 0])
    #expect(
      await initiator.send([0x9E, 0x12] + CDB.bytes(UInt64(2048)) + [0, 0, 0, 24, 0, 0], room: 24).sense
        == 0x52100)
    // Nothing can be given back: all is mapped.
    let fixed = await Initiator(ScriptedDisk(canDiscard: false)).send(
      [0x9E, 0x12] + CDB.bytes(UInt64(7)) + [0, 0, 0, 24, 0, 0], room: 24)
    #expect(fixed.data == [0, 0, 0, 20, 0, 0, 0, 0] + run(7, 2041, 0))
  }

  @Test func formatMakesZeros() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    #expect(await initiator.send([4, 0x80, 0, 0, 0, 0]).sense == 0x52400)
    #expect(await initiator.send([4, 0x18, 0, 0, 0, 0], data: [0, 8, 0, 0]).sense == 0x52600)
    #expect(await initiator.send([4, 0x18, 0, 0, 0, 0], data: [0, 0, 0, 4]).sense == 0x52600)
    #expect(await initiator.send([4, 0x38, 0, 0, 0, 0], data: [0, 0, 0, 0]).sense == 0x51A00)
    #expect(disk.log.isEmpty)
    #expect(await initiator.send([4, 0, 0, 0, 0, 0]).result == .good)
    #expect(disk.content.allSatisfy { $0 == 0 } && disk.log.last == .flush)
  }

  @Test func anImmediateFormatTellsHowFarItIs() async {
    let disk = ScriptedDisk()
    let (gate, opener) = AsyncStream.makeStream(of: Void.self)
    let (ends, end) = AsyncStream.makeStream(of: Void.self)
    let initiator = Initiator(disk) {
      $0.background = { work in
        Task {
          for await _ in gate { break }
          await work()
          end.finish()
        }
      }
    }
    disk.fail(.writeZeroes, as: .ioError)
    #expect(await initiator.send([4, 0x10, 0, 0, 0, 0], data: [0, 2, 0, 0]).result == .good)
    let busy = await initiator.send(CDB.testUnitReady)
    #expect(busy.sense == 0x20404 && busy.result.sense?.specific == 0x80_0000)
    #expect(await initiator.send(CDB.extent(0x2A, 0, 1), room: 512).sense == 0x20404)
    #expect(await initiator.send([4, 0, 0, 0, 0, 0]).sense == 0x20404)
    #expect(await initiator.send([3, 0, 0, 0, 252, 0], room: 252).data[2] == 2)
    #expect(await initiator.send(CDB.inquiry(), room: 255).status == .good)
    opener.yield()
    for await _ in ends {}
    #expect(await initiator.send(CDB.testUnitReady).sense == 0x33101)
    #expect(await initiator.send(CDB.testUnitReady).result == .good)
  }
}
