import BlockCore
import SCSI
import TestKit
import Testing

@Suite struct InquiryTests {
  private let serial = "11112222-3333-4444-5555-666677778888"
  private let naa: [UInt8] = [
    0x60, 0x01, 0x40, 0x51, 0x11, 0x12, 0x22, 0x23, 0x33, 0x34, 0x44, 0x45, 0x55, 0x56, 0x66, 0x67,
  ]

  private func page(_ code: UInt8, _ change: (inout LogicalUnit.Options) -> Void = { _ in }) async -> [UInt8]
  {
    await Initiator(ScriptedDisk(), change).send(CDB.inquiry(page: code, length: 2048), room: 2048).data
  }

  @Test func theStandardDataNamesTheStandards() async {
    let data = await Initiator(ScriptedDisk()).send(CDB.inquiry(), room: 255).data
    #expect(data.count == 96 && Int(data[4]) + 5 == 96)
    #expect(Array(data[..<8]) == [0, 0, 6, 2, 91, 8, 0, 2])
    #expect(String(decoding: data[8..<36], as: UTF8.self) == "LIO-ORG TCMU device     0002")
    #expect(Array(data[58..<66]) == [0x00, 0xA0, 0x04, 0x60, 0x04, 0xC0, 0, 0])
  }

  @Test func theRunnersStandardDataIsItsOwn() async {
    let data = await Initiator(ScriptedDisk()) { $0.profile = .tcmuRunner }.send(CDB.inquiry(), room: 255)
      .data
    #expect(data == [0, 0, 5, 2, 0x1F, 8, 0, 2] + Array("LIO-ORG TCMU device     0002".utf8))
  }

  @Test func allocationLengthAndBufferCutTheData() async {
    let initiator = Initiator(ScriptedDisk())
    for length in [0, 1, 5, 36, 95, 96, 97, 255] {
      let answer = await initiator.send(CDB.inquiry(length: UInt16(length)), room: 128)
      #expect(answer.result.status == .good && answer.data.count == min(length, 96))
      #expect(answer.buffer[answer.data.count...].allSatisfy { $0 == 0xEE })
    }
    let short = await initiator.send(
      CDB.inquiry(length: 255), data: [UInt8](repeating: 0, count: 10), pieces: [3, 7])
    #expect(short.result == .good && short.data == [0, 0, 6, 2, 91, 8, 0, 2, 0x4C, 0x49])
    #expect(await initiator.send([0x12, 0, 0x80, 0, 255, 0], room: 255).sense == 0x52400)
    #expect(await initiator.send(CDB.inquiry(page: 0xC0), room: 255).sense == 0x52400)
  }

  @Test func everyListedPageIsThereAndSaysItsLength() async {
    for profile in [LogicalUnit.Profile.strict, .tcmuRunner] {
      let list = await page(0x00) { $0.profile = profile }
      let pages = Array(list[4..<4 + Int(list[3])])
      #expect(pages == pages.sorted())
      for code in pages {
        let data = await page(code) { $0.profile = profile }
        #expect(data[0] == 0 && data[1] == code)
        let length = Int(data[2]) << 8 | Int(data[3])
        #expect(profile == .tcmuRunner ? data.count >= length + 4 : data.count == length + 4, "\(code)")
      }
    }
  }

  @Test func theRunnersPagesAreItsOwn() async {
    func runner(_ code: UInt8, _ change: (inout LogicalUnit.Options) -> Void = { _ in }) async -> [UInt8] {
      await page(code) {
        $0.profile = .tcmuRunner
        $0.isSolidState = false
        $0.maximumTransferBlocks = 128
        $0.configuration = "file//images/disk"
        change(&$0)
      }
    }
    let none = [UInt8](repeating: 0, count: 64)
    #expect(await runner(0x00) == [0, 0, 0, 6, 0, 0x80, 0x83, 0xB0, 0xB1, 0xB2, 0, 0, 0, 0, 0, 0])
    #expect(await runner(0x80) == [0, 0x80, 0, 37] + Array(serial.utf8) + [0])
    let configuration = Array("file//images/disk".utf8)
    let identification: [UInt8] =
      [2, 1, 0, 45] + Array("LIO-ORG \(serial)".utf8) + [0] + [1, 3, 0, 16] + naa
      + [2, 0, 0, 18] + configuration + [0]
    #expect(await runner(0x83) == [0, 0x83, 0, UInt8(identification.count)] + identification)
    var limits: [UInt8] = [0, 0xB0, 0, 0x3C, 1, 1, 0, 0, 0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 0]
    limits += [2, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 128, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]
    #expect(await runner(0xB0) == limits + none[limits.count...])
    #expect(await runner(0xB1) == [0, 0xB1, 0, 0x3C] + none[4...])
    #expect(await runner(0xB2) == [0, 0xB2, 0, 4, 0, 0xE4] + none[6...])
    for code: UInt8 in [0x86, 0x8F] {
      let answer = await Initiator(ScriptedDisk()) { $0.profile = .tcmuRunner }.send(
        CDB.inquiry(page: code), room: 9)
      #expect(answer.sense == 0x52400)
    }
  }

  @Test func theNamesAreTheSameInBothProfilesAndTheConfigurationIsNotShown() async {
    let data = await page(0x83) { $0.configuration = "file//secret" }
    #expect(data.count == 4 + 49 + 20)
    #expect(Array(data[4..<53]) == [2, 1, 0, 45] + Array("LIO-ORG \(serial)".utf8) + [0])
    #expect(Array(data[53...]) == [1, 3, 0, 16] + naa)
    #expect(await page(0x80) == [0, 0x80, 0, 36] + Array(serial.utf8))
    #expect(Initiator(ScriptedDisk()).unit.designator == naa)
  }

  @Test func withoutASerialNumberNoUnitIsNamed() async {
    #expect(await page(0x83) { $0.serial = { "" } } == [0, 0x83, 0, 0])
    #expect(await page(0x80) { $0.serial = { "" } } == [0, 0x80, 0, 0])
    #expect(Initiator(ScriptedDisk()) { $0.serial = { "" } }.unit.designator == nil)
  }

  @Test func longNamesAreCut() async {
    let data = await page(0x83) {
      $0.profile = .tcmuRunner
      $0.serial = { String(repeating: "f", count: 300) }
      $0.configuration = String(repeating: "c", count: 300)
      $0.targetPort = {
        LogicalUnit.TargetPort(
          protocolIdentifier: 5, relativeIdentifier: 0x102, group: 7,
          targetName: String(repeating: "n", count: 400), portalGroupTag: 1)
      }
    }
    var offset = 4
    var kinds: [UInt8] = []
    while offset < data.count {
      kinds.append(data[offset + 1])
      offset += 4 + Int(data[offset + 3])
    }
    #expect(offset == data.count && kinds == [1, 3, 0, 0x94, 0x95, 0x98, 0xA8])
  }

  @Test func theTargetPortIsNamed() async {
    let data = await page(0x83) {
      $0.targetPort = {
        LogicalUnit.TargetPort(
          protocolIdentifier: 5, relativeIdentifier: 0x102, group: 7, targetName: "iqn.x",
          portalGroupTag: 0x1A)
      }
    }
    let expected: [UInt8] =
      [0x51, 0x94, 0, 4, 0, 0, 1, 2] + [0x51, 0x95, 0, 4, 0, 0, 0, 7]
      + [0x53, 0x98, 0, 16] + Array("iqn.x,t,0x001a".utf8) + [0, 0] + [0x53, 0xA8, 0, 8] + Array("iqn.x".utf8)
      + [0, 0, 0]
    #expect(Array(data[73...]) == expected)
  }

  @Test func limitsAreThoseThatHold() async {
    let data = await page(0xB0) {
      $0.maximumTransferBlocks = 4096
      $0.physicalBlockBytes = 4096
      $0.unmapGranularityBlocks = 8
    }
    #expect(data[4] == 1 && data[5] == 255 && Array(data[6..<8]) == [0, 8])
    #expect(Array(data[8..<16]) == [0, 0, 16, 0, 0, 0, 8, 0])
    #expect(Array(data[20..<36]) == [0, 16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0x80, 0, 0, 0])
    #expect(Array(data[36..<44]) == [0, 0, 0, 0, 0, 2, 0, 0])
    #expect(await page(0xB2) == [0, 0xB2, 0, 4, 0, 0xE4, 2, 0])
    #expect(await page(0xB1)[4..<9] == [0, 1, 0, 0, 2])
  }
}
