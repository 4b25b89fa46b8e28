import Attachments
import Testing

/// What is told of the log of a manager that has ended.
@Suite struct ManagerLogTests {
  private static let said = "2026-12-01T03:00:00+0000 error ashlard: [ashlard] cannot open the journal\n"
  private static let crash = """
    *** Signal 6: Backtracing from 0x7f12... done ***

    *** Program crashed: Aborted at 0x000000000001f0c5 ***

    Thread 0 crashed:
    0 0x00007f libc.so.6
    Images (1 omitted):
    0x00007f-0x00008f ashlard /usr/bin/ashlard

    Backtrace took 6.19s


    """

  @Test func theLastLineIsTheReason() {
    #expect(ManagerLog.reason(in: "2026-12-01T02:59:00+0000 info: up\n\(Self.said)") == Self.said.dropLast())
    #expect(
      ManagerLog.reason(in: "ashlard: error while loading shared libraries\n")?.hasPrefix("ashlard:") == true)
    #expect(ManagerLog.reason(in: "") == nil)
  }

  @Test func aBacktraceIsNoReason() {
    let crashed = ManagerLog.reason(in: Self.said + Self.crash)
    #expect(crashed == "*** Program crashed: Aborted at 0x000000000001f0c5 ***")
    let fatal = ManagerLog.reason(in: Self.said + "ashlard/Main.swift:7: Fatal error: no room\n" + Self.crash)
    #expect(fatal == "ashlard/Main.swift:7: Fatal error: no room")
    // One that another manager left is not this one's.
    #expect(ManagerLog.reason(in: Self.crash + Self.said) == Self.said.dropLast())
  }
}
