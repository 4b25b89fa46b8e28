import BlockCore
import BlockSim
import SCSI
import TestKit
import Testing

/// VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE.
@Suite struct CompareTests {
  @Test(arguments: [0x2F, 0xAF, 0x8F] as [UInt8], [512, 4096])
  func verifyComparesWhatItIsAskedTo(code: UInt8, blockSize: Int) async {
    let disk = ScriptedDisk(blocks: 3000, blockSize: blockSize)
    let initiator = Initiator(disk)
    let count = 2500
    let good = Array(disk.content[blockSize..<(count + 1) * blockSize])
    var bad = good
    bad[count * blockSize - 3] ^= 1
    #expect(await initiator.send(CDB.extent(code, 1, UInt32(count), 0x02), data: good).result == .good)
    let answer = await initiator.send(
      CDB.extent(code, 1, UInt32(count), 0x02), data: bad, pieces: [77, bad.count - 77])
    #expect(answer.sense == 0xE1D00)
    #expect(answer.result.sense?.information == UInt64(count * blockSize - 3))
    // What has no counterpart cannot be called equal.
    let short = Array(good.dropLast())
    #expect(await initiator.send(CDB.extent(code, 1, UInt32(count), 0x02), data: short).sense == 0x52400)
    // BYTCHK 0 has no data and looks at none.
    #expect(await initiator.send(CDB.extent(code, 1, UInt32(count), 0), data: bad).result == .good)
    #expect(await initiator.send(CDB.extent(code, 1, 1, 0x04), data: good).sense == 0x52400)
    #expect(await initiator.send(CDB.extent(code, 1, 1, 0x20), data: good).sense == 0x52400)
    #expect(await initiator.send(CDB.extent(code, 3001, 0)).sense == 0x52100)
    #expect(await initiator.send(CDB.extent(code, 3000, 0)).result == .good)
    disk.fail(.read, as: .ioError)
    #expect(await initiator.send(CDB.extent(code, 0, 1)).sense == 0x31100)
  }

  @Test func verifyWithOneBlockComparesEachWithIt() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let block = OpsScript.content("rand", 1, 512)
    #expect(await initiator.send(CDB.extent(0x93, 8, 40), data: block).result == .good)
    #expect(await initiator.send(CDB.extent(0x8F, 8, 40, 0x06), data: block).result == .good)
    let answer = await initiator.send(CDB.extent(0x8F, 8, 41, 0x06), data: block)
    #expect(answer.sense == 0xE1D00 && answer.result.sense?.information ?? 0 >= 40 * 512)
    #expect(await initiator.send(CDB.extent(0x8F, 8, 1, 0x06), data: [1]).sense == 0x52400)
  }

  @Test(arguments: [0x2E, 0xAE, 0x8E] as [UInt8])
  func writeAndVerifyWritesToTheMedium(code: UInt8) async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let data = OpsScript.content("rand", 2, 4 * 512)
    #expect(await initiator.send(CDB.extent(code, 9, 4, 0x02), data: data).result == .good)
    #expect(Array(disk.content[9 * 512..<13 * 512]) == data)
    #expect(disk.log.map(\.operation) == [.write, .read] && disk.log[0].flags == .forceUnitAccess)
    // One of the two blocks has come.
    let expected = disk.content
    #expect(await initiator.send(CDB.extent(code, 9, 2), data: Array(data[..<512])).result == .good)
    #expect(disk.content == expected)
    #expect(await initiator.send(CDB.extent(code, 9, 1, 0x20), data: data).sense == 0x52400)
    #expect(await initiator.send(CDB.extent(code, 2048, 1), data: data).sense == 0x52100)
  }

  @Test func compareAndWriteWritesIfAllIsEqual() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let new = OpsScript.content("rand", 4, 255 * 512)
    let old = Array(disk.content[512..<256 * 512])
    let pieces = [old.count - 100, 300, new.count - 200]
    #expect(
      await initiator.send(CDB.compareAndWrite(1, 255), data: old + new, pieces: pieces).result == .good)
    #expect(Array(disk.content[512..<256 * 512]) == new)
    var other = new
    other[700] ^= 0x80
    let answer = await initiator.send(CDB.compareAndWrite(1, 255), data: other + old)
    #expect(answer.sense == 0xE1D00 && answer.result.sense?.information == 700)
    #expect(Array(disk.content[512..<256 * 512]) == new)
  }

  @Test func compareAndWriteIsChecked() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let content = disk.content
    #expect(await initiator.send(CDB.compareAndWrite(0, 0)).result == .good)
    #expect(await initiator.send(CDB.compareAndWrite(2049, 0)).sense == 0x52100)
    #expect(await initiator.send(CDB.compareAndWrite(2048, 1), room: 1024).sense == 0x52100)
    #expect(await initiator.send(CDB.compareAndWrite(.max, 255), room: 1024).sense == 0x52100)
    #expect(await initiator.send(CDB.compareAndWrite(0, 1), room: 1023).sense == 0x52400)
    #expect(await initiator.send(CDB.compareAndWrite(0, 1, 0x20), room: 1024).sense == 0x52400)
    #expect(disk.content == content)
    let runner = Initiator(disk) { $0.profile = .tcmuRunner }
    #expect(await runner.send(CDB.compareAndWrite(0, 2), room: 2048).sense == 0x52400)
  }

  @Test func orWriteSetsBits() async {
    let disk = ScriptedDisk(blocks: 5000)
    let data = OpsScript.content("rand", 6, 3000 * 512)
    var expected = disk.content
    for index in data.indices { expected[512 + index] |= data[index] }
    #expect(await Initiator(disk).send(CDB.extent(0x8B, 1, 3000), data: data).result == .good)
    #expect(disk.content == expected)
  }

  /// A WRITE that goes on beside a COMPARE AND WRITE comes before it, and then the comparison fails, or after it:
  /// in both cases what it wrote is there in the end.
  @Test(arguments: [0, 1, 2, 3]) func noWriteIsLostToACompareAndWrite(waitEvery: Int) async {
    let disk = ScriptedDisk(blocks: 64, waitEvery: waitEvery)
    let initiator = Initiator(disk)
    var written = 0
    var lost = 0
    for round in 0..<1500 {
      let old = Array(disk.content[5 * 512..<8 * 512])
      let new = [UInt8](repeating: UInt8(round & 0x7F), count: 3 * 512)
      let data = [UInt8](repeating: 0x80 | UInt8(round & 0x7F), count: 3 * 512)
      async let compared = initiator.send(CDB.compareAndWrite(5, 3), data: old + new)
      async let wrote = initiator.send(
        CDB.extent(0x2A, 5, 3), data: data, pieces: round % 2 == 0 ? nil : [512, 1024])
      let answers = await (compared, wrote)
      #expect(answers.1.result == .good && answers.0.sense ?? 0xE1D00 == 0xE1D00)
      if answers.0.result == .good { written += 1 }
      if Array(disk.content[5 * 512..<8 * 512]) != data { lost += 1 }
    }
    #expect(written > 0 && lost == 0)
  }

  /// Counters on the disk that only COMPARE AND WRITE raises, with writes of all kinds beside them: no step is lost.
  @Test(arguments: [0, 2]) func nothingIsWrittenBetweenCompareAndWrite(waitEvery: Int) async {
    let disk = ScriptedDisk(blocks: 64, waitEvery: waitEvery)
    let initiator = Initiator(disk)
    _ = await initiator.send(CDB.extent(0x93, 0, 64, 0x01))
    let steps = 150
    await withTaskGroup(of: Int.self) { group in
      for _ in 0..<4 {
        group.addTask {
          var done = 0
          while done < steps {
            let old = await initiator.send(CDB.extent(0x88, 5, 1), room: 512).data
            var new = old
            let count = UInt64(old[0]) | UInt64(old[1]) << 8
            new[0] = UInt8((count + 1) & 0xFF)
            new[1] = UInt8((count + 1) >> 8)
            let answer = await initiator.send(CDB.compareAndWrite(5, 1), data: old + new)
            if answer.status == .good { done += 1 } else { #expect(answer.sense == 0xE1D00) }
          }
          return done
        }
      }
      // A write of three blocks whose middle one says what it says already, read and written by ORWRITE.
      group.addTask {
        for number in 0..<steps {
          let block = [UInt8](repeating: UInt8(number & 0xFF), count: 512)
          #expect(await initiator.send(CDB.extent(0x8A, 4, 1), data: block).result == .good)
          #expect(
            await initiator.send(CDB.extent(0x8A, 6, 2), data: block + block, pieces: [100, 924]).result
              == .good)
          let none = [UInt8](repeating: 0, count: 3 * 512)
          #expect(await initiator.send(CDB.extent(0x8B, 4, 3), data: none).result == .good)
        }
        return 0
      }
      for await _ in group {}
    }
    let block = disk.content[5 * 512..<6 * 512]
    #expect(Int(block[5 * 512]) | Int(block[5 * 512 + 1]) << 8 == 4 * steps)
  }
}
