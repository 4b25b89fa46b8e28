import Foundation
import Glibc
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// Files in other disk formats, where a disk's own bytes are meant.
  @Suite struct ContainerTests {
    private static let qcow2: [UInt8] =
      [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 3] + [UInt8](repeating: 0, count: 65528)

    @Test func aContainerIsNotTakenForRaw() throws {
      let instance = try Instance()
      let image = try instance.scratch.write("disk.img", Self.qcow2)
      for command in [
        ["attach", "--id", "q", "raw:\(image)"], ["image", "info", "raw:\(image)"],
        ["image", "extract", "raw:\(image)", instance.scratch("out")],
        ["attach", "--id", "q", image],
      ] {
        let outcome = try instance.ashlar(command)
        #expect(outcome.status == 1 && outcome.output == "", "\(command)")
        #expect(outcome.errors.contains("it is a qcow2 image"), "\(outcome.errors)")
        #expect(outcome.errors.contains("write raw-bytes:\(image)"), "\(outcome.errors)")
      }
      try instance.expectNothingLeft()
      let device = try instance.attach("q", "raw-bytes:\(image)")
      // The same image, whoever asks for it now.
      #expect(try instance.attach("q", "raw:\(image)") == device)
      try instance.detach("q")
      #expect(try instance.ashlar("image", "info", "raw-bytes:\(image)").status == 0)
    }

    /// What raw: means is decided when the ID is attached first: its user may write what he likes to his disk.
    @Test func aDiskThatIsEncryptedLaterIsAttachedAgain() throws {
      let instance = try Instance()
      let image = try instance.scratch.write("disk.img", [UInt8](repeating: 0, count: 1 << 20))
      let device = try instance.attach("l", "raw:\(image)")
      let luks = try instance.shell(
        #"printf 'LUKS\xba\xbe\0\x02' | dd of=\#(device) conv=notrunc,fsync status=none"#)
      #expect(luks.status == 0, "\(luks.errors)")
      #expect(try instance.attach("l", "raw:\(image)") == device)
      let server = try #require(try instance.inspect("l").server?.pid)
      #expect(kill(server, SIGKILL) == 0)
      // The dead device goes, and the image is attached anew.
      _ = try instance.attach("l", "raw:\(image)")
      try instance.detach("l")
      let outcome = try instance.ashlar("attach", "--id", "l", "raw:\(image)")
      #expect(outcome.status == 1 && outcome.errors.contains("LUKS"), "\(outcome.errors)")
      try instance.expectNothingLeft()
    }
  }
}
