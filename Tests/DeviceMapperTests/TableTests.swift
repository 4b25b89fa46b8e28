import BlockCore
import BlockSim
import DeviceMapper
import LinuxIO
import TestKit
import Testing

/// Tables: what the kernel prints is understood, and what we write is what it reads.
@Suite struct TableTests {
  /// Lines that kernels 6.1 and 6.12 print.
  private static let lines = [
    "0 8 linear 7:0 2048", "0 32768 snapshot 7:0 7:1 P 8", "0 32768 snapshot 7:0 7:1 PO 8",
    "0 32768 snapshot 7:0 7:1 N 16 2 discard_zeroes_cow discard_passdown_origin",
    "0 32768 snapshot-origin 253:0", "0 32768 snapshot-merge 7:0 7:1 P 8",
    "0 131072 thin-pool 7:2 7:3 128 32768 2 skip_block_zeroing error_if_no_space",
    "0 131072 thin-pool 7:2 7:3 128 0 0", "0 8192 thin 253:0 7", "0 8192 thin 253:0 16777215 7:5", "0 8 zero",
    "0 8 error", "0 1024 striped 2 128 8:0 0 8:16 0", "0 1024 crypt aes-xts-plain64 - 0 8:1 4096",
  ]

  @Test(arguments: lines) func aLineComesBackAsItWas(line: String) throws {
    let table = try Table(line)
    #expect(table.description == line)
    #expect(try Table(table.description) == table)
  }

  @Test func whatALineSaysIsUnderstood() throws {
    let table = try Table("0 100 linear 7:0 2048\n100 50 zero\n150 6 thin 253:1 9 7:5\n")
    #expect(table.sectorCount == 156)
    #expect(table.lines[0].target == .linear(DeviceNumbers(major: 7, minor: 0), start: 2048))
    #expect(table.lines[1].target == .zero)
    #expect(
      table.lines[2].target
        == .thin(
          pool: DeviceNumbers(major: 253, minor: 1), id: 9, origin: DeviceNumbers(major: 7, minor: 5)))
  }

  @Test(arguments: [
    "0", "0 8", "x 8 zero", "0 -8 zero", "0 8 linear", "0 8 linear 7:0", "0 8 linear 7:0 x",
    "0 8 linear 7 0", "0 8 linear 7:0 0 0", "0 8 linear 7:0 +1", "0 8 linear 7:0 18446744073709551616",
    "0 8 snapshot 7:0 7:1 X 8", "0 8 snapshot 7:0 7:1 P 0", "0 8 snapshot 7:0 7:1 P 9",
    "0 8 snapshot 7:0 7:1 P 8 5 a", "0 8 snapshot 7:0 7:1 P 8 18446744073709551615 a",
    "0 8 snapshot 7:0 7:1 P",
    "0 8 thin 253:0 16777216", "0 8 thin-pool 7:0 7:1 128 0", "0 8 zero 1", "0 8 error 1",
    "0 8 snapshot-origin 4294967296:0", "99999999999999999999 8 zero",
  ])
  func aLineThatCannotBeRightIsRefused(text: String) {
    let error = #expect(throws: BlockError.self) { try Table(text) }
    #expect(error?.kind == .invalidArgument, "\(text)")
  }

  @Test func longTextsAreRefused() {
    let long = String(repeating: "a", count: Limits.deviceMapperParameterBytes + 1)
    #expect(throws: BlockError.self) { try Table("0 8 zero \(long)") }
    #expect(throws: BlockError.self) { try Table("0 8 striped \(long)") }
    let many = (0...Limits.deviceMapperTargets).map { "\($0) 1 zero" }.joined(separator: "\n")
    #expect(throws: BlockError.self) { try Table(many) }
    #expect(throws: BlockError.self) { try TargetStatus(type: "thin", text: long) }
  }

  /// Whatever the text: an answer or a clear error, and what is understood is written as it was read.
  @Test func randomTextsDoNoHarm() {
    let seed = Seed.of("randomTextsDoNoHarm")
    var random = SplitMix64(seed: seed)
    let words =
      Self.lines.flatMap { $0.split(separator: " ").map(String.init) } + ["", "-1", "1/2", "\n", ":"]
    var understood = 0
    for _ in 0..<20_000 {
      let count = Int.random(in: 0...10, using: &random)
      let text = (0..<count).map { _ in words.randomElement(using: &random) ?? "" }.joined(separator: " ")
      guard let table = try? Table(text) else { continue }
      understood += 1
      #expect((try? Table(table.description)) == table, "seed \(seed): \(text)")
    }
    #expect(understood > 0)
  }
}
