import CNetlink
import Testing
import TransportTCMU

/// Messages of the kernel's netlink family.
@Suite struct EventTests {
  /// A message of the family's, as the kernel would send it.
  private func event(_ command: UInt8, _ attributes: [(Int32, [UInt8])]) -> TCMUEvent? {
    guard let message = nlmsg_alloc() else { return nil }
    defer { nlmsg_free(message) }
    genlmsg_put(message, 0, 0, 0x1D, 0, 0, command, 2)
    for (number, bytes) in attributes { nla_put(message, number, Int32(bytes.count), bytes) }
    return nlmsg_hdr(message).flatMap { TCMUEvent($0) }
  }

  private let device: [(Int32, [UInt8])] = [
    (1, Array("tcm-user/1/x/ashlar/y\0".utf8)), (2, [3, 0, 0, 0]), (8, [7, 0, 0, 0]),
  ]

  @Test func kindsOfEvents() {
    let name = "tcm-user/1/x/ashlar/y"
    func event(_ kind: TCMUEvent.Kind) -> TCMUEvent { TCMUEvent(kind, device: 7, uioNumber: 3, name: name) }
    #expect(self.event(1, device) == event(.added))
    #expect(self.event(2, device) == event(.removed))
    #expect(self.event(3, device + [(5, [0, 0, 0, 0, 1, 0, 0, 0])]) == event(.reconfiguredSize(1 << 32)))
    #expect(
      self.event(3, device + [(4, Array("ashlar/z".utf8))]) == event(.reconfiguredConfiguration("ashlar/z")))
    #expect(self.event(3, device + [(6, [1])]) == event(.reconfiguredWriteCache(true)))
    #expect(self.event(3, device) == event(.reconfiguredOtherwise))
    #expect(self.event(3, device + [(77, [1])]) == event(.reconfiguredOtherwise))
    #expect(self.event(1, device)?.entry?.backstore == Backstore(hba: 1, name: "x"))
  }

  @Test func messagesThatAreNone() {
    #expect(event(1, []) == nil)
    #expect(event(1, Array(device.dropLast())) == nil)
    #expect(event(1, [(2, [3]), (8, [7, 0, 0, 0])]) == nil)
    #expect(event(4, device) == nil)
    #expect(event(200, device) == nil)
    // A size that is too short is none, and the change is one that we do not know.
    #expect(event(3, device + [(5, [1])])?.kind == .reconfiguredOtherwise)
    #expect(event(1, Array(device.dropFirst()))?.name == "")
  }
}
