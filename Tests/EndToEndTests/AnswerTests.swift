import Foundation
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What a command says when its answer cannot be written, and how it counts.
  @Suite struct AnswerTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")

    @Test func anAnswerThatCannotBeWrittenIsSaid() throws {
      let instance = try Instance()
      for place in ["> /dev/full", ">&-"] {
        for command in ["attach --id a --config \(config)", "inspect a", "ls"] {
          let outcome = try instance.shell("ashlar \(command) \(place)")
          #expect(outcome.status == 1, "\(command) \(place)")
          #expect(outcome.errors.contains("standard output"), "\(command) \(place): \(outcome.errors)")
        }
      }
      try instance.detach("a")
    }

    @Test func aConfigurationIsTheSameImageUnderAnyScheme() throws {
      let instance = try Instance()
      let device = try instance.attach("a", config)
      let again = try instance.ashlar("attach", "--id", "a", "--config", config)
      #expect(again.status == 0 && again.line == device, "\(again.errors)")
      try instance.detach("a")
    }

    @Test func layersAreCountedInWords() throws {
      let instance = try Instance()
      try instance.scratch.write("raw", [UInt8](repeating: 0, count: 4096))
      _ = try instance.attach("raw", "raw:\(instance.scratch("raw"))")
      _ = try instance.attach("one", Fixtures.path("ext4/config.l1.v1.json"))
      #expect(try instance.ashlar("inspect", "raw").output.contains("format     raw\n"))
      #expect(try instance.ashlar("inspect", "one").output.contains("format     overlaybd, 1 layer\n"))
      for id in ["raw", "one"] { try instance.detach(id) }
    }
  }
}
