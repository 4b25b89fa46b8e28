import Attachments
import Foundation
import TestKit
import Testing

extension SerialEndToEndTests {
  /// The command under the name of overlaybd's attacher: what its README promises, and what it says.
  ///
  /// What needs TCMU is in Tests/Kernel/tcmu-attacher.
  @Suite struct AttacherTests {
    private let name = "overlaybd-attacher"

    /// An instance with the attacher in its path, and `sound.lsmt` in its directory.
    private func instance() throws -> Instance {
      let instance = try Instance()
      try FileManager.default.createDirectory(
        atPath: instance.scratch("bin"), withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(
        atPath: instance.scratch("bin/\(name)"), withDestinationPath: Instance.command)
      try instance.scratch.write("sound.lsmt", try Fixtures.bytes("lsmt/01-single/single.lsmt"))
      return instance
    }

    private func attach(_ instance: Instance, _ config: String, _ rest: String = "") throws -> Program.Outcome
    {
      try instance.shell("\(name) attach --id 7 --transport fuse --config \(config) \(rest)")
    }

    private func lines(of file: String, _ instance: Instance) throws -> [String] {
      String(decoding: try instance.scratch.bytes(file), as: UTF8.self).split(separator: "\n").map(
        String.init)
    }

    /// Every line on standard error begins with the program's name, whoever has something to say.
    private func expectOnePrefix(_ errors: String, _ location: SourceLocation = #_sourceLocation) {
      for line in errors.split(separator: "\n") {
        #expect(line.hasPrefix("\(name): "), "\(line)", sourceLocation: location)
      }
    }

    @Test func tellsTheCourseInAFileBesideTheConfiguration() throws {
      let instance = try instance()
      let config = try instance.scratch.write(
        "config.v1.json", text: #"{"lowers": [{"file": "sound.lsmt"}]}"#)
      let outcome = try attach(instance, config)
      #expect(outcome.status == 0 && outcome.line.hasPrefix("/dev/loop") && outcome.errors == "")
      let told = try lines(of: "init-debug.log", instance)
      #expect(told.first == "success")
      for words in ["try 1 of 5", "started its data server, process ", "67108864 bytes", outcome.line] {
        #expect(told.dropFirst().contains { $0.contains(words) }, "\(words): \(told)")
      }
      // Each step has its time.
      #expect(
        told.dropFirst().allSatisfy { $0.wholeMatch(of: #/\d{4}-\d\d-\d\dT[\d:.]+Z .+/#) != nil }, "\(told)")
      // Again: the same device, and another course.
      #expect(try attach(instance, config).line == outcome.line)
      #expect(try lines(of: "init-debug.log", instance).contains { $0.contains("it is attached already") })
      try instance.detach("7")
    }

    @Test func tellsTheCourseInTheResultFile() throws {
      let instance = try instance()
      let config = try instance.scratch.write(
        "config.v1.json", text: #"{"lowers": [{"file": "sound.lsmt"}], "resultFile": "told"}"#)
      #expect(try attach(instance, config).status == 0)
      let told = try lines(of: "told", instance)
      #expect(told.first == "success" && told.count > 4, "\(told)")
      #expect(!FileManager.default.fileExists(atPath: instance.scratch("init-debug.log")))
      try instance.detach("7")
    }

    @Test func verboseTellsEachStep() throws {
      let instance = try instance()
      let config = try instance.scratch.write(
        "config.v1.json", text: #"{"lowers": [{"file": "sound.lsmt"}]}"#)
      let outcome = try attach(instance, config, "-v")
      #expect(outcome.status == 0 && outcome.output == outcome.line + "\n")
      expectOnePrefix(outcome.errors)
      for step in try lines(of: "init-debug.log", instance).dropFirst() {
        let text = step.split(separator: " ", maxSplits: 1).last ?? ""
        #expect(outcome.errors.contains("\(name): \(text)\n"), "\(step)")
      }
      let detach = try instance.shell("\(name) detach --id 7 -v")
      #expect(detach.status == 0 && detach.output == "" && detach.errors.contains("7 is gone"))
      expectOnePrefix(detach.errors)
    }

    /// A layer that is not there yet when the first tries are made is waited for.
    @Test func triesAgainUntilALayerIsThere() throws {
      let instance = try instance()
      try instance.scratch.write("config.v1.json", text: #"{"lowers": [{"file": "late.lsmt"}]}"#)
      let outcome = try instance.shell(
        """
        cd \(instance.scratch.path)
        \(name) attach --id 7 --transport fuse --config config.v1.json > device 2> errors & pid=$!
        until grep -q 'try 2 of 5 failed' errors; do sleep 0.02; done
        mv sound.lsmt late.lsmt
        wait $pid
        """)
      let errors = String(decoding: try instance.scratch.bytes("errors"), as: UTF8.self)
      #expect(outcome.status == 0, "\(errors)")
      #expect(try lines(of: "device", instance).first?.hasPrefix("/dev/loop") == true)
      #expect(errors.contains("try 1 of 5 failed") && errors.contains("late.lsmt"), "\(errors)")
      expectOnePrefix(errors)
      let told = try lines(of: "init-debug.log", instance)
      #expect(told.first == "success" && told.contains { $0.contains("try 3 of 5") }, "\(told)")
      try instance.detach("7")
    }

    @Test func givesUpAfterFiveTries() throws {
      let instance = try instance()
      let config = try instance.scratch.write(
        "config.v1.json", text: #"{"lowers": [{"file": "none.lsmt"}], "resultFile": "told"}"#)
      let clock = ContinuousClock()
      let begin = clock.now
      let outcome = try attach(instance, config, "-v")
      #expect(clock.now - begin >= .seconds(4))
      #expect(outcome.status == 1 && outcome.output == "")
      expectOnePrefix(outcome.errors)
      // Also with -v each failure is told once.
      let failures = outcome.errors.split(separator: "\n").filter {
        $0.contains(" failed") || $0.contains("cannot ")
      }
      #expect(failures.count == 5, "\(outcome.errors)")
      let told = try lines(of: "told", instance)
      // Upstream's word for it stays the first.
      #expect(told.first == "failed:empty repoBlobUrl", "\(told)")
      #expect(
        told.contains { $0.contains("try 5 of 5") } && told.contains { $0.contains("none.lsmt") }, "\(told)")
      try instance.expectNothingLeft()
    }

    @Test(arguments: [
      "--id 12345678901234 --config config.v1.json", "--id a/b --config config.v1.json", "--id 7",
      "--id 7 --no",
    ])
    func wrongCallsFailAtOnce(arguments: String) throws {
      let instance = try instance()
      try instance.scratch.write("config.v1.json", text: #"{"lowers": [{"file": "sound.lsmt"}]}"#)
      let outcome = try instance.shell("cd \(instance.scratch.path); \(name) attach \(arguments)")
      #expect(outcome.status == 1 && outcome.output == "" && outcome.errors != "")
      #expect(!outcome.errors.contains("of 5"), "\(outcome.errors)")
    }

    /// What was asked and is not done is said, also without -v.
    @Test func saysWhatIsNotDone() throws {
      let instance = try instance()
      let pair = LayerFabric.writablePair(
        [.init(sector: 0, content: [UInt8](repeating: 5, count: 512))], virtualSize: 0, tag: 255)
      try instance.scratch.write("data", pair.data)
      try instance.scratch.write("index", pair.index)
      let config = try instance.scratch.write(
        "config.v1.json",
        text: #"""
          {"lowers": [{"file": "sound.lsmt"}], "upper": {"data": "data", "index": "index"},
           "resultFile": "no/where", "download": {"enable": true}, "recordTracePath": "t"}
          """#)
      let outcome = try attach(instance, config, "--with-devid")
      #expect(outcome.status == 0 && outcome.line.hasPrefix("/dev/loop"))
      expectOnePrefix(outcome.errors)
      for words in ["opened for reading", "no/where", "download.enable", "recordTracePath", "--with-devid"] {
        let notes = outcome.errors.split(separator: "\n").filter {
          $0.contains("note: ") && $0.contains(words)
        }
        #expect(notes.count == 1, "\(words): \(outcome.errors)")
      }
      try instance.detach("7")
    }

    /// The course of an attach is never written over the image itself.
    @Test func theImageIsNotOverwritten() throws {
      let instance = try instance()
      let layer = try instance.scratch.bytes("sound.lsmt")
      try instance.scratch.write("init-debug.log", layer)
      let config = try instance.scratch.write(
        "config.v1.json", text: #"{"lowers": [{"file": "init-debug.log"}]}"#)
      let outcome = try attach(instance, config)
      #expect(
        outcome.status == 0 && outcome.errors.contains("it is one of the files of the image itself"),
        "\(outcome.errors)")
      #expect(try instance.scratch.bytes("init-debug.log") == layer)
      try instance.detach("7")
    }
  }
}
