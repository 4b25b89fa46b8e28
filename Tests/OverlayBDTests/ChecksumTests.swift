import OverlayBD
import Testing

/// The vectors of the specification, §1.
@Suite struct ChecksumTests {
  private func register(_ bytes: [UInt8], from seed: UInt32) -> UInt32 {
    Checksum.register(over: bytes.span.bytes, from: seed)
  }

  @Test func isTheBareRegister() {
    #expect(register(Array("123456789".utf8), from: 0) == 0x58E3_FA20)
    #expect(register(Array("123456789".utf8), from: Checksum.blockSeed) == 0x3C9B_D4E0)
    #expect(register([UInt8](repeating: 0, count: 512), from: 0) == 0)
    #expect(register([UInt8](repeating: 0, count: 32), from: Checksum.blockSeed) == 0x2825_0FD2)
    #expect(register([UInt8](repeating: 0xFF, count: 32), from: 0) == 0xE839_9DE9)
    #expect(register([], from: 77) == 77)
  }
}
