import BlockCore
import SCSI
import TestKit
import Testing

@Suite struct ExtendedCopyTests {
  private func target(_ unit: LogicalUnit, kind: UInt8 = 0xE4, blockSize: UInt32 = 512) -> [UInt8] {
    [kind, 0, 0, 0, 1, 3, 0, 16] + (unit.designator ?? []) + [0, 0, 0, 0, 0] + CDB.bytes(blockSize)[1...]
  }

  private func segment(
    _ source: UInt16, _ target: UInt16, _ blocks: UInt16, from: UInt64, to: UInt64, kind: UInt8 = 2
  ) -> [UInt8] {
    [kind, 0, 0, 24] + CDB.bytes(source) + CDB.bytes(target) + [0, 0] + CDB.bytes(blocks) + CDB.bytes(from)
      + CDB.bytes(to)
  }

  private func list(_ targets: [[UInt8]], _ segments: [[UInt8]], identifier: UInt8 = 1, usage: UInt8 = 0)
    -> [UInt8]
  {
    let targets = targets.flatMap { $0 }
    let segments = segments.flatMap { $0 }
    return [identifier, usage << 3] + CDB.bytes(UInt16(targets.count)) + [0, 0, 0, 0]
      + CDB.bytes(UInt32(segments.count)) + [0, 0, 0, 0] + targets + segments
  }

  private func cdb(_ count: Int) -> [UInt8] {
    [0x83] + Array(repeating: 0, count: 9) + CDB.bytes(UInt32(count)) + [0, 0]
  }

  private func results(_ action: UInt8, _ identifier: UInt8 = 0) -> [UInt8] {
    [0x84, action, identifier] + Array(repeating: 0, count: 7) + CDB.bytes(UInt32(512)) + [0, 0]
  }

  private func send(_ list: [UInt8], to initiator: Initiator, count: Int? = nil) async -> Initiator.Answer {
    await initiator.send(cdb(count ?? list.count), data: list)
  }

  @Test func segmentsAreCopiedInOrder() async {
    let disk = ScriptedDisk(blocks: 10000)
    let initiator = Initiator(disk)
    let before = disk.content
    let parameters = list(
      [target(initiator.unit)],
      [
        segment(0, 0, 3000, from: 1, to: 5000), segment(0, 0, 2, from: 5000, to: 9998),
        segment(0, 0, 0, from: 0, to: 0),
      ])
    #expect(await send(parameters, to: initiator).result == .good)
    var expected = before
    expected.replaceSubrange(5000 * 512..<8000 * 512, with: before[512..<3001 * 512])
    expected.replaceSubrange(9998 * 512..<10000 * 512, with: before[512..<3 * 512])
    #expect(disk.content == expected)
    let status = await initiator.send(results(0, 1), room: 512).data
    #expect(status == [0, 0, 0, 8, 1, 0, 3, 0] + CDB.bytes(UInt32(3002 * 512)))
    #expect(await initiator.send(results(0, 2), room: 512).sense == 0x52400)
    #expect(await initiator.send(results(4, 1), room: 512).data == [0, 0, 0, 0])
  }

  @Test func twoDevicesOfOursCopyToEachOther() async {
    let other = Initiator(ScriptedDisk(blocks: 64, blockSize: 4096)) { $0.serial = { "abcdef" } }
    let source = ScriptedDisk()
    let initiator = Initiator(source) {
      $0.copyTarget = { $0 == other.unit.designator ? other.unit : nil }
    }
    let targets = [target(initiator.unit), target(other.unit, blockSize: 4096)]
    #expect(await send(list(targets, [segment(0, 1, 16, from: 8, to: 3)]), to: initiator).result == .good)
    let copied = try? await other.unit.volume.read(at: 3 * 4096, byteCount: 8192, using: Workspace())
    #expect(copied == Array(source.content[4096..<12288]))
    // Half a block of the target.
    #expect(await send(list(targets, [segment(0, 1, 4, from: 8, to: 3)]), to: initiator).sense == 0xA0000)
    let wrong = [target(initiator.unit), target(other.unit, blockSize: 512)]
    #expect(await send(list(wrong, [segment(0, 1, 16, from: 8, to: 3)]), to: initiator).sense == 0xA0D03)
    // The other one does not know the first.
    #expect(await send(list(targets, [segment(1, 0, 1, from: 0, to: 0)]), to: other).sense == 0xA0D02)
  }

  @Test func listsAreChecked() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    let mine = target(initiator.unit)
    let some = segment(0, 0, 1, from: 0, to: 9)
    let good = list([mine], [some])
    #expect(await send([], to: initiator).result == .good)
    #expect(await send(Array(good[..<15]), to: initiator).sense == 0x51A00)
    #expect(await send(good, to: initiator, count: 47).sense == 0x51A00)
    #expect(await send(good, to: initiator, count: good.count - 1).sense == 0x51A00)
    #expect(await send(Array(good.dropLast()), to: initiator, count: good.count).sense == 0x51A00)
    #expect(await send(list([target(initiator.unit, kind: 0xE0)], [some]), to: initiator).sense == 0x52607)
    #expect(
      await send(list([mine], [segment(0, 0, 1, from: 0, to: 0, kind: 3)]), to: initiator).sense == 0x52609)
    #expect(await send(list([mine], [segment(0, 1, 1, from: 0, to: 0)]), to: initiator).sense == 0xA0D02)
    #expect(await send(list([mine], [segment(0, 0, 2, from: 2047, to: 0)]), to: initiator).sense == 0xA0000)
    #expect(await send(list([mine], [segment(0, 0, 2, from: 0, to: .max)]), to: initiator).sense == 0xA0000)
    #expect(await send(list(Array(repeating: mine, count: 17), [some]), to: initiator).sense == 0x52606)
    #expect(await send(list([mine], Array(repeating: some, count: 257)), to: initiator).sense == 0x52608)
    let both = list(Array(repeating: mine, count: 17), Array(repeating: some, count: 258))
    #expect(await send(both, to: initiator).sense == 0x51A00)
    #expect(await send(list([mine], [some], usage: 1), to: initiator).sense == 0x52600)
    #expect(await send(list([mine], [some], usage: 3), to: initiator).sense == 0x52600)
    #expect(disk.log.isEmpty)
    #expect(await send(list([mine], [some], identifier: 0, usage: 3), to: initiator).result == .good)
    #expect(await send(list([mine], [some], usage: 2), to: initiator).result == .good)
    #expect(await initiator.send(results(0, 1), room: 512).data[4] == 2)
  }

  @Test func failuresAreKeptUntilTheyAreRead() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    disk.fail(.write, as: .noSpace)
    let parameters = list([target(initiator.unit)], [segment(0, 0, 1, from: 0, to: 9)], identifier: 7)
    #expect(await send(parameters, to: initiator).sense == 0x72707)
    #expect(await initiator.send(results(0, 7), room: 512).data[4] == 2)
    let details = await initiator.send(results(4, 7), room: 512).data
    #expect(details.count == 78 && details[59] == 18 && details[60] == 0x70 && details[62] == 7)
    #expect(await initiator.send(results(4, 7), room: 512).sense == 0x52400)
    let readOnly = Initiator(ScriptedDisk(isReadOnly: true))
    #expect(await send(parameters, to: readOnly).sense == 0x72700)
  }

  @Test func onlySoManyResultsAreKept() async {
    let initiator = Initiator(ScriptedDisk())
    for identifier in UInt8(0)..<20 {
      let parameters = list(
        [target(initiator.unit)], [segment(0, 0, 1, from: 0, to: 9)], identifier: identifier)
      #expect(await send(parameters, to: initiator).result == .good)
    }
    #expect(await initiator.send(results(0, 3), room: 512).sense == 0x52400)
    #expect(await initiator.send(results(0, 4), room: 512).status == .good)
  }

  @Test func limitsAreTold() async {
    let initiator = Initiator(ScriptedDisk())
    let data = await initiator.send(results(3), room: 512).data
    #expect(data.count == 46 && Array(data[..<12]) == [0, 0, 0, 42, 1, 0, 0, 0, 0, 16, 1, 0])
    #expect(data[37] == 9 && Array(data[43...]) == [2, 0x02, 0xE4])
    let page = await initiator.send(CDB.inquiry(page: 0x8F), room: 255).data
    #expect(Array(page[4..<16]) == [0, 1, 0, 12, 8, 0x83, 1, 0, 0x84, 3, 0, 3])
    #expect(Int(page[3]) + 4 == page.count && page.count == 4 + 16 + 32 + 8 + 36)
  }
}
