import BlockCore
import BlockSim
import SCSI
import TestKit
import Testing

@Suite struct ReadWriteTests {
  private static let reads: [UInt8] = [0x28, 0xA8, 0x88]
  private static let writes: [UInt8] = [0x2A, 0xAA, 0x8A]

  @Test(arguments: reads, [512, 4096])
  func readsWhatIsThere(code: UInt8, blockSize: Int) async {
    let disk = ScriptedDisk(blocks: 300, blockSize: blockSize)
    let answer = await Initiator(disk).send(CDB.extent(code, 17, 9), room: 9 * blockSize)
    #expect(answer.result == .good && answer.wasServedNow)
    #expect(answer.data == Array(disk.content[17 * blockSize..<26 * blockSize]))
  }

  @Test(arguments: writes, [512, 4096])
  func writesWhereItShould(code: UInt8, blockSize: Int) async {
    let disk = ScriptedDisk(blocks: 300, blockSize: blockSize)
    var expected = disk.content
    let data = OpsScript.content("rand", 3, 5 * blockSize)
    expected.replaceSubrange(100 * blockSize..<105 * blockSize, with: data)
    let answer = await Initiator(disk).send(CDB.extent(code, 100, 5), data: data)
    #expect(answer.result == .good && answer.wasServedNow)
    #expect(disk.content == expected)
  }

  @Test func theShortFormMeans256BlocksByZero() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let read = await initiator.send([0x08, 0, 1, 0x02, 0, 0], room: 256 * 512)
    #expect(read.result == .good && read.data == Array(disk.content[258 * 512..<514 * 512]))
    let data = [UInt8](repeating: 3, count: 256 * 512)
    #expect(await initiator.send([0x0A, 0, 0, 7, 0, 0], data: data).result == .good)
    #expect(Array(disk.content[7 * 512..<263 * 512]) == data)
  }

  @Test(arguments: reads + writes)
  func addressesAreChecked(code: UInt8) async {
    let initiator = Initiator(ScriptedDisk(blocks: 64))
    let data = [UInt8](repeating: 0, count: 1024)
    #expect(await initiator.send(CDB.extent(code, 63, 2), data: data).sense == 0x52100)
    #expect(await initiator.send(CDB.extent(code, 65, 0)).sense == 0x52100)
    #expect(await initiator.send(CDB.extent(code, 64, 0)).result == .good)
    #expect(await initiator.send(CDB.extent(code, 0xFFFF_FFFF, 1), data: data).sense == 0x52100)
    if code & 0xE0 == 0x80 {
      #expect(await initiator.send(CDB.extent(code, .max, .max), data: data).sense == 0x52100)
      #expect(await initiator.send(CDB.extent(code, .max, 1), data: data).sense == 0x52100)
      #expect(await initiator.send(CDB.extent(code, 1 << 63, 0), data: data).sense == 0x52100)
    }
  }

  @Test(arguments: reads + writes)
  func protectionAndAutoContingentAllegianceAreRefused(code: UInt8) async {
    let initiator = Initiator(ScriptedDisk())
    let data = [UInt8](repeating: 0, count: 512)
    for protect: UInt8 in 1...7 {
      #expect(await initiator.send(CDB.extent(code, 0, 1, protect << 5), data: data).sense == 0x52400)
    }
    var cdb = CDB.extent(code, 0, 1)
    cdb[cdb.count - 1] = 0x04
    #expect(await initiator.send(cdb, data: data).sense == 0x52400)
    #expect(await initiator.send(CDB.extent(code, 0, 1, 0x10), data: data).result == .good)
  }

  @Test func forcedUnitAccessReachesTheVolume() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let data = [UInt8](repeating: 0, count: 512)
    _ = await initiator.send(CDB.extent(0x2A, 0, 1), data: data)
    _ = await initiator.send(CDB.extent(0x2A, 0, 1, 0x08), data: data)
    // A read from the medium comes after what the cache holds.
    _ = await initiator.send(CDB.extent(0x28, 0, 1, 0x08), data: data)
    #expect(disk.log.map(\.flags) == [[], .forceUnitAccess, [], []])
    #expect(disk.log.map(\.operation) == [.write, .write, .flush, .read])
    let through = ScriptedDisk()
    _ = await Initiator(through) { $0.hasWriteCache = false }.send(CDB.extent(0x2A, 0, 1), data: data)
    #expect(through.log.map(\.flags) == [.forceUnitAccess])
  }

  /// The kernel's own limit is 128 blocks where nobody sets another, and initiators go beyond it.
  @Test func whatIsLongerThanTheLimitIsServed() async {
    let initiator = Initiator(ScriptedDisk()) { $0.maximumTransferBlocks = 16 }
    let data = OpsScript.content("rand", 6, 17 * 512)
    #expect(await initiator.send(CDB.extent(0x8A, 0, 17), data: data).result == .good)
    #expect(await initiator.send(CDB.extent(0x28, 0, 17), room: data.count).data == data)
  }

  @Test func aRequestIsNeverLongerThanTheLimit() async {
    let disk = ScriptedDisk(blocks: 5000)
    let initiator = Initiator(disk)
    let data = OpsScript.content("rand", 5, 4999 * 512)
    #expect(await initiator.send(CDB.extent(0x8A, 1, 4999), data: data).result == .good)
    #expect(Array(disk.content[512...]) == data)
    #expect(await initiator.send(CDB.extent(0x88, 1, 4999), room: data.count).data == data)
    #expect(disk.log.allSatisfy { $0.byteCount <= UInt64(Limits.requestBytes) })
    #expect(disk.log.count == 6)
  }

  // MARK: Buffers that are shorter or longer

  @Test func aReadFillsAShortBuffer() async {
    let disk = ScriptedDisk()
    for room in [0, 1, 200, 512, 700, 1024] {
      let answer = await Initiator(disk).send(CDB.extent(0x28, 4, 2), room: room)
      #expect(answer.result == .good, "\(room)")
      #expect(answer.data == Array(disk.content[4 * 512..<4 * 512 + room]), "\(room)")
    }
  }

  @Test func aReadSaysHowMuchOfALongBufferIsValid() async {
    let disk = ScriptedDisk()
    let answer = await Initiator(disk).send(CDB.extent(0x28, 4, 1), room: 10000)
    #expect(answer.result == CommandResult(.good, dataInCount: 512))
    #expect(answer.data == Array(disk.content[2048..<2560]))
    #expect(answer.buffer[512...].allSatisfy { $0 == 0xEE })
    #expect(await Initiator(disk).send(CDB.extent(0x28, 4, 0), room: 512).result.dataInCount == 0)
  }

  @Test func aWriteTakesTheWholeBlocksThatHaveCome() async {
    for (count, blocks) in [(0, 0), (200, 0), (512, 1), (700, 1), (1024, 2), (5000, 2)] {
      let disk = ScriptedDisk()
      var expected = disk.content
      expected.replaceSubrange(2048..<2048 + blocks * 512, with: repeatElement(7, count: blocks * 512))
      let answer = await Initiator(disk).send(
        CDB.extent(0x2A, 4, 2), data: [UInt8](repeating: 7, count: count))
      #expect(answer.result == .good && disk.content == expected, "\(count)")
    }
  }

  // MARK: Pieces

  @Test func piecesThatAreWholeBlocksAreServedInPlace() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let answer = await initiator.send(
      CDB.extent(0x28, 0, 16), data: [UInt8](repeating: 0, count: 8192), pieces: [4096, 0, 1024, 3072])
    #expect(answer.data == Array(disk.content[..<8192]))
    #expect(disk.log.map(\.byteCount) == [4096, 1024, 3072])
  }

  @Test(arguments: [0, 1, 3]) func piecesMayLieAnyhow(waitEvery: Int) async {
    var random = SplitMix64(seed: Seed.of("piecesMayLieAnyhow"))
    let disk = ScriptedDisk(blocks: 600, waitEvery: waitEvery)
    var expected = disk.content
    let initiator = Initiator(disk)
    for _ in 0..<200 {
      let blocks = Int.random(in: 1...64, using: &random)
      let lba = Int.random(in: 0...600 - blocks, using: &random)
      var rest = blocks * 512
      var pieces: [Int] = []
      while rest > 0 {
        let choices = [Int.random(in: 0...rest, using: &random), 1, 511, 512, 4096]
        let piece = min(choices.randomElement(using: &random) ?? 1, rest)
        pieces.append(piece)
        rest -= piece
      }
      let range = lba * 512..<(lba + blocks) * 512
      if Bool.random(using: &random) {
        let data = (0..<range.count).map { _ in UInt8.random(in: 0...255, using: &random) }
        expected.replaceSubrange(range, with: data)
        let answer = await initiator.send(
          CDB.extent(0x8A, UInt64(lba), UInt32(blocks)), data: data, pieces: pieces)
        #expect(answer.result == .good)
      } else {
        let answer = await initiator.send(
          CDB.extent(0x88, UInt64(lba), UInt32(blocks)), data: [UInt8](repeating: 1, count: range.count),
          pieces: pieces)
        #expect(answer.result == .good && answer.data == Array(expected[range]), "\(pieces)")
      }
    }
    #expect(disk.content == expected)
  }

  // MARK: Failures

  @Test func errorsOfTheVolumeBecomeSenseData() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let data = [UInt8](repeating: 0, count: 512)
    for (kind, read, write) in [
      (BlockError.Kind.ioError, 0x31100, 0x30C00), (.checksumMismatch, 0x31101, 0x30C00),
      (.noSpace, 0x72707, 0x72707), (.timedOut, 0xB0801, 0xB0801), (.disconnected, 0x20800, 0x20800),
    ] {
      disk.fail(.read, as: kind)
      disk.fail(.write, as: kind)
      #expect(await initiator.send(CDB.extent(0x28, 0, 1), data: data).sense == read, "\(kind)")
      #expect(await initiator.send(CDB.extent(0x2A, 0, 1), data: data).sense == write, "\(kind)")
    }
  }

  @Test(arguments: writes) func aReadOnlyVolumeSaysSo(code: UInt8) async {
    let initiator = Initiator(ScriptedDisk(isReadOnly: true))
    #expect(await initiator.send(CDB.extent(code, 0, 1), room: 512).sense == 0x72700)
    #expect(await initiator.send(CDB.extent(0x28, 0, 1), room: 512).result == .good)
    #expect(await initiator.send(CDB.extent(0x35, 0, 0)).result == .good)
    #expect(await initiator.send([0x1A, 8, 0x3F, 0, 255, 0], room: 255).data[2] == 0x90)
  }
}
