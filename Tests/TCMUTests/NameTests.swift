import BlockCore
import Testing
import TransportTCMU

/// What stands in sysfs, configfs and procfs, and the names that we give.
@Suite struct NameTests {
  @Test func namesOfTheAttacher() throws {
    let names = try DeviceNames(id: "128")
    #expect(names.backstore.path == "/sys/kernel/config/target/core/user_999999999/dev_128")
    #expect(names.target.name == "naa.1990000000000128")
    #expect(try DeviceNames(id: "1234567890abc").target.name == "naa.1991234567890abc")
    #expect(try DeviceNames(id: "7", tenant: 305).backstore.description == "user_305/dev_7")
    #expect(try DeviceNames(id: "7", tenant: 305).target.name == "naa.1050000000000007")
    #expect(try DeviceNames(id: "1").target == DeviceNames(id: "01").target)
  }

  @Test(arguments: ["", "12345678901234", "a/b", "..\u{0}", "a b", "é", "a,b", "\n"])
  func idsThatCannotBe(id: String) {
    let error = #expect(throws: BlockError.self) { _ = try DeviceNames(id: id) }
    #expect(error?.kind == .invalidArgument)
    #expect(error?.description.contains("1 to 13") == true)
  }

  @Test func namesOfDevices() {
    let entry = UIODevice.Entry(number: 3, name: "tcm-user/999999999/dev_1/overlaybd//a/b.json;1")
    #expect(entry?.backstore == Backstore(hba: 999_999_999, name: "dev_1"))
    #expect(entry?.configuration == "overlaybd//a/b.json;1")
    #expect(UIODevice.Entry(number: 3, name: "tcm-user/0/x")?.configuration == "")
    // An accent behind a slash makes one character of both.
    #expect(UIODevice.Entry(number: 3, name: "tcm-user/0/x/\u{301}/y")?.configuration == "\u{301}/y")
    for other in ["", "(null)", "tcm-user", "tcm-user/0", "tcm-user//x/y", "tcm-user/0//y", "hv_net/0/x/y"] {
      #expect(UIODevice.Entry(number: 3, name: other) == nil, "\(other)")
    }
    #expect(UIODevice.size("0x40800000") == 0x4080_0000)
    #expect(UIODevice.size("128") == 128)
    #expect(UIODevice.size("0x") == nil && UIODevice.size("-") == nil)
  }

  @Test func infoOfABackstore() throws {
    let text = """
      Status: DEACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 128
              Config: ashlar/a Size: 5 Status: ACTIVATED,b Size: 268435456 MaxDataAreaMB: 1024 DataPagesPerBlk: 1
      """
    let info = try #require(Backstore.Info(text))
    #expect(info.configuration == "ashlar/a Size: 5 Status: ACTIVATED,b")
    #expect(info.byteCount == 268_435_456)
    #expect(!info.isActivated)
    for other in ["", "Config: x", "Config: x Size: y", " Size: 5"] {
      #expect(Backstore.Info(other) == nil, "\(other)")
    }
    #expect(Backstore.serial("T10 VPD Unit Serial Number: abc-1") == "abc-1")
    #expect(Backstore.serial("T10 VPD Unit Serial Number: ") == "")
    #expect(Backstore.serial("something else of more than 28 characters") == "")
  }

  @Test func linksToBackstores() {
    #expect(
      FabricLink.backstore(inTarget: "../../../../../../target/core/user_5/dev_9")
        == Backstore(hba: 5, name: "dev_9"))
    for other in ["", "core/user_5", "core/fileio_0/x", "/a/user_5/x", "core/user_x/y"] {
      #expect(FabricLink.backstore(inTarget: other) == nil, "\(other)")
    }
  }

  @Test func optionsThatCannotBe() {
    func kind(_ change: (inout Backstore.Options) -> Void) -> BlockError.Kind? {
      var options = Backstore.Options(configuration: "ashlar/a", byteCount: 1 << 20)
      change(&options)
      do throws(BlockError) {
        try options.check(Backstore(hba: 1, name: "x"))
        return nil
      } catch {
        return error.kind
      }
    }
    #expect(kind { _ in } == nil)
    #expect(kind { $0.configuration = String(repeating: "x", count: 255) } == nil)
    #expect(kind { $0.configuration = String(repeating: "x", count: 256) } == .invalidArgument)
    #expect(kind { $0.configuration = "" } == .invalidArgument)
    #expect(kind { $0.configuration = "a\u{0}" } == .invalidArgument)
    #expect(kind { $0.byteCount = 513 } == .invalidArgument)
    #expect(kind { $0.blockSize = 4095 } == .invalidArgument)
  }

  @Test func listenersInTheKernelsTable() {
    let table = """
      sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
      0000000000000000 0   1234       00000551 0        0        0     2        0        19337
      0000000000000000 16  0          00000000 0        0        0     2        0        5
      0000000000000000 16  4711       00000100 0        0        0     2        0        20001
      0000000000000000 16  4712       80000000 0        0        0     2        0        20002
      short 16 1 00000100
      """
    #expect(TCMUEvents.sockets(in: table, group: 9) == [20001])
    #expect(TCMUEvents.sockets(in: table, group: 32) == [20002])
    #expect(TCMUEvents.sockets(in: table, group: 1) == [])
    #expect(TCMUEvents.sockets(in: table, group: 33) == nil)
    #expect(TCMUEvents.sockets(in: "", group: 3) == [])
  }
}
