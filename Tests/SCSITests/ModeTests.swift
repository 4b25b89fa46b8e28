import BlockCore
import SCSI
import Synchronization
import TestKit
import Testing

@Suite struct ModeTests {
  private func sense6(_ page: UInt8, _ subpage: UInt8 = 0, control: UInt8 = 0, length: UInt8 = 255) -> [UInt8]
  {
    [0x1A, 8, control << 6 | page, subpage, length, 0]
  }

  private let caching: [UInt8] = [8, 18, 4] + Array(repeating: 0, count: 17)
  private let controlPage: [UInt8] = [0x0A, 10, 2, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0]

  @Test func pagesAreThereAloneAndTogether() async {
    let initiator = Initiator(ScriptedDisk())
    #expect(await initiator.send(sense6(8), room: 255).data == [23, 0, 0x10, 0] + caching)
    #expect(await initiator.send(sense6(0x0A), room: 255).data == [15, 0, 0x10, 0] + controlPage)
    #expect(
      await initiator.send(sense6(1), room: 255).data == [15, 0, 0x10, 0, 1, 10]
        + Array(repeating: 0, count: 10))
    #expect(
      await initiator.send(sense6(2), room: 255).data == [19, 0, 0x10, 0, 2, 14]
        + Array(repeating: 0, count: 14))
    #expect(
      await initiator.send(sense6(0x1C), room: 255).data == [15, 0, 0x10, 0, 0x1C, 10, 8]
        + Array(repeating: 0, count: 9))
    #expect(
      await initiator.send(sense6(0x0A, 1), room: 255).data == [35, 0, 0x10, 0, 0x4A, 1, 0, 28]
        + Array(repeating: 0, count: 28))
    #expect(await initiator.send(sense6(0x0A, 0xFF), room: 255).data.count == 4 + 12 + 32)
    #expect(await initiator.send(sense6(0x3F), room: 255).data.count == 4 + 12 + 16 + 20 + 12 + 12)
    #expect(await initiator.send(sense6(0x3F, 0xFF), room: 255).data.count == 4 + 12 + 16 + 20 + 12 + 32 + 12)
    for (page, subpage) in [(0x1A, 0), (0x3F, 1), (8, 1), (0x0A, 2)] as [(UInt8, UInt8)] {
      #expect(await initiator.send(sense6(page, subpage), room: 255).sense == 0x52400)
    }
  }

  @Test func pageControlIsHonoured() async {
    let initiator = Initiator(ScriptedDisk())
    let changeable = await initiator.send(sense6(8, control: 1), room: 255).data
    #expect(Array(changeable[4...]) == [8, 18, 4] + Array(repeating: 0, count: 17))
    let control = await initiator.send(sense6(0x0A, control: 1), room: 255).data
    #expect(Array(control[4...]) == [0x0A, 10, 4, 0, 8] + Array(repeating: 0, count: 7))
    #expect(await initiator.send(sense6(8, control: 2), room: 255).data == [23, 0, 0x10, 0] + caching)
    #expect(await initiator.send(sense6(8, control: 3), room: 255).sense == 0x53900)
  }

  @Test func theLongFormHasAPlaceForBigDisks() async {
    let initiator = Initiator(ScriptedDisk(blockSize: 4096))
    let short = await initiator.send([0x5A, 0, 8, 0, 0, 0, 0, 0, 255, 0], room: 255).data
    #expect(short == [0, 34, 0, 0x10, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 0x10, 0] + caching)
    let long = await initiator.send([0x5A, 0x10, 8, 0, 0, 0, 0, 0, 255, 0], room: 255).data
    #expect(
      Array(long[..<24]) == [0, 42, 0, 0x10, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x10, 0])
    let block = await initiator.send([0x1A, 0, 8, 0, 255, 0], room: 255).data
    #expect(Array(block[..<12]) == [31, 0, 0x10, 8, 0, 0, 8, 0, 0, 0, 0x10, 0])
    // Allocation lengths cut, and are no error.
    #expect(await initiator.send(sense6(0x3F, length: 3), room: 255).data.count == 3)
    #expect(await initiator.send(sense6(0x3F, length: 0), room: 255).result.dataInCount == 0)
  }

  @Test func theCacheCanBeSwitchedOff() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    func select(_ hasCache: Bool) async -> CommandResult {
      var page = caching
      page[2] = hasCache ? 4 : 0
      return await initiator.send([0x15, 0x10, 0, 0, 24, 0], data: [0, 0, 0, 0] + page, pieces: [7, 17])
        .result
    }
    let write = CDB.extent(0x2A, 0, 1)
    #expect(await select(false) == .good)
    #expect(disk.log == [.flush])
    _ = await initiator.send(write, room: 512)
    #expect(disk.log.last?.flags == .forceUnitAccess)
    #expect(await initiator.send(sense6(8), room: 255).data[6] == 0)
    // What it says by default is still that there is one.
    #expect(await initiator.send(sense6(8, control: 2), room: 255).data[6] == 4)
    _ = await initiator.send(CDB.extent(0x93, 0, 8, 0x09))
    #expect(disk.log.last?.flags == [.forceUnitAccess, .mayUnmap])
    #expect(await select(true) == .good)
    _ = await initiator.send(write, room: 512)
    #expect(disk.log.last?.flags == [])
  }

  @Test func writeProtectionAndSenseFormatCanBeSwitched() async {
    let initiator = Initiator(ScriptedDisk())
    var page = controlPage
    page[2] |= 4
    page[4] |= 8
    let list = [0, 0, 0, 0, 0, 0, 0, 0] + page
    #expect(await initiator.send([0x55, 0x10, 0, 0, 0, 0, 0, 0, 20, 0], data: list).result == .good)
    #expect(initiator.unit.usesDescriptorSense)
    #expect(await initiator.send(CDB.extent(0x2A, 0, 1), room: 512).sense == 0x72702)
    #expect(await initiator.send(CDB.extent(0x93, 0, 1), room: 512).sense == 0x72702)
    #expect(await initiator.send(CDB.extent(0x28, 0, 1), room: 512).result == .good)
    #expect(await initiator.send(sense6(0x0A), room: 255).data[2] == 0x90)
    #expect(
      await initiator.send([0x15, 0x10, 0, 0, 16, 0], data: [0, 0, 0, 0] + controlPage).result == .good)
    #expect(await initiator.send(CDB.extent(0x2A, 0, 1), room: 512).result == .good)
    #expect(!initiator.unit.usesDescriptorSense)
  }

  @Test func whatMayNotBeChangedIsRefusedAsAWhole() async {
    let disk = ScriptedDisk()
    let initiator = Initiator(disk)
    func sense(_ list: [UInt8], flags: UInt8 = 0x10) async -> Int? {
      await initiator.send([0x15, flags, 0, 0, UInt8(list.count), 0], data: list).sense
    }
    var off = caching
    off[2] = 0
    var timeout = controlPage
    timeout[8] = 0
    #expect(await sense([0, 0, 0, 0] + off + timeout) == 0x52600)
    #expect(await sense([0, 0, 0, 0] + off + [0x1A, 10] + Array(repeating: 0, count: 10)) == 0x52600)
    #expect(await sense([0, 0, 0, 0] + [8, 17] + off[2...]) == 0x52600)
    #expect(await sense([0, 0, 0, 0] + off[..<19]) == 0x51A00)
    #expect(await sense([0, 0, 0]) == 0x51A00)
    #expect(await sense([0, 0, 0, 8, 0, 0]) == 0x51A00)
    #expect(await sense([0, 0, 0, 4, 0, 0, 0, 0] + off) == 0x52600)
    #expect(await sense([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x10, 0] + off) == 0x52600)
    #expect(await sense([0, 0, 0, 0] + off, flags: 0x11) == 0x52400)
    #expect(await sense([0, 0, 0, 0] + off, flags: 0) == 0x52400)
    #expect(await sense([0, 0, 0, 0, 0x4A, 1]) == 0x51A00)
    #expect(await initiator.send([0x15, 0x10, 0, 0, 0, 0]).result == .good)
    // The same block size, any usual count, and a page as it is are no change.
    #expect(await sense([0, 0, 0, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0] + controlPage) == nil)
    let readOnly = Initiator(ScriptedDisk(isReadOnly: true))
    let answer = await readOnly.send([0x15, 0x10, 0, 0, 24, 0], data: [0, 0, 0, 0] + off)
    #expect(answer.sense == 0x52600)
  }

  @Test func settingsAreToldAndTaken() async {
    let told = Mutex<Int>(0)
    let initiator = Initiator(ScriptedDisk()) { $0.onSettingsChange = { told.withLock { $0 += 1 } } }
    func select(_ pages: [UInt8]) async -> CommandResult {
      await initiator.send([0x15, 0x10, 0, 0, UInt8(4 + pages.count), 0], data: [0, 0, 0, 0] + pages).result
    }
    #expect(initiator.unit.settings == 0)
    var off = caching
    off[2] = 0
    var control = controlPage
    control[2] = 6
    control[4] = 8
    #expect(await select(off) == .good)
    #expect(told.withLock { $0 } == 1)
    let first = initiator.unit.settings
    #expect(first != 0)
    #expect(await select(control) == .good)
    #expect(told.withLock { $0 } == 2)
    let settings = initiator.unit.settings
    #expect(settings != first)
    // What is refused tells nobody.
    #expect(await select([8, 17] + off[2...]) != .good)
    #expect(told.withLock { $0 } == 2)
    // The unit that takes the disk over begins with them; it has told nobody yet, and takes nothing else for a setting.
    let next = Initiator(ScriptedDisk()) { $0.settings = settings | 0xFFFF_FF00 }
    #expect(next.unit.settings == settings)
    #expect(await next.send(sense6(8), room: 255).data[6] == 0)
    #expect(Array(await next.send(sense6(0x0A), room: 255).data[4...]) == control)
    #expect(await next.send(CDB.extent(0x2A, 0, 1), room: 512).sense == 0x72702)
  }
}
