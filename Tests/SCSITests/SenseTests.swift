import BlockCore
import SCSI
import Testing

@Suite struct SenseTests {
  private func encode(_ sense: SenseData, _ descriptorFormat: Bool) -> (bytes: [UInt8], count: Int) {
    var bytes = [UInt8](repeating: 0xFF, count: SenseData.bufferBytes)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    let count = sense.encode(into: &raw, descriptorFormat: descriptorFormat)
    return (bytes, count)
  }

  @Test func fixedFormat() {
    let (bytes, count) = encode(SenseData(0xE, 0x1D, 1, information: 0x0102_0304, specific: 0xC0_0005), false)
    #expect(count == 18)
    #expect(Array(bytes[..<18]) == [0xF0, 0, 0xE, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x1D, 1, 0, 0xC0, 0, 5])
    #expect(bytes[18...].allSatisfy { $0 == 0 })
    let plain = encode(SenseData(5, 0x20, 0, information: 1 << 32), false).bytes
    #expect(Array(plain[..<18]) == [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0])
  }

  @Test func descriptorFormat() {
    let (plain, length) = encode(SenseData(5, 0x20, 0), true)
    #expect(length == 8 && Array(plain[..<8]) == [0x72, 5, 0x20, 0, 0, 0, 0, 0])
    let (bytes, count) = encode(SenseData(0xE, 0x1D, 1, information: 1 << 40, specific: 0xC0_0005), true)
    #expect(count == 28)
    #expect(
      Array(bytes[..<28]) == [0x72, 0xE, 0x1D, 1, 0, 0, 0, 20, 0, 10, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0]
        + [2, 6, 0, 0, 0xC0, 0, 5, 0])
    #expect(bytes[28...].allSatisfy { $0 == 0 })
  }

  @Test(arguments: BlockError.Kind.allCases) func everyErrorHasSenseData(kind: BlockError.Kind) {
    let error = BlockError(kind, step: "read", object: "it", cause: "of the test")
    for isWrite in [false, true] {
      let sense = SenseData(error, isWrite: isWrite)
      #expect((1...0xE).contains(sense.key))
      // A failed write is no failed read, and the other way round.
      if sense.key == 3 { #expect(sense.code == (isWrite ? 0x0C : 0x11)) }
    }
  }
}
