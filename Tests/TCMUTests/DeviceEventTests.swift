import Testing
import TransportTCMU

/// The kernel's events of devices.
@Suite struct DeviceEventTests {
  private let path = "/devices/tcm_loop_0/tcm_loop_adapter_0/host2/target2:0:1/2:0:1:0/block/sda"

  @Test func disksThatWereAddedAreFound() {
    let event = Array("add@\(path)\0ACTION=add\0DEVPATH=\(path)\0".utf8)
    #expect(DeviceEvents.isAdded("/2:0:1:0/block/", in: event[...]))
    #expect(!DeviceEvents.isAdded("/2:0:1:1/block/", in: event[...]))
    // Only the path counts, and not the fields.
    #expect(!DeviceEvents.isAdded("ACTION", in: event[...]))
  }

  @Test(arguments: [
    "", "add", "add@", "\0add@/block/", "remove@/devices/x/block/sda\0", "libudev\0add@/block/x",
  ])
  func othersAreNot(event: String) {
    #expect(!DeviceEvents.isAdded("/block/", in: Array(event.utf8)[...]))
  }
}
