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

    /// What cannot be said beside the result is dropped: it costs neither the result nor what is still to do.
    @Test func nobodyIsThereToBeTold() throws {
      let instance = try Instance()
      // Of this, the attach has something to note.
      let image = try instance.scratch.write(
        "noted.json",
        text: #"{"lowers": [{"file": "\#(Fixtures.path("ext4/layer1.obd.tar"))"}], "recordTracePath": "/x"}"#)
      for place in ["2> /dev/full", "2>&-"] {
        let attached = try instance.shell("ashlar attach -v --id a --config \(image) \(place)")
        #expect(attached.status == 0 && attached.line.hasPrefix("/dev/loop"), "\(place): \(attached.line)")
        let detached = try instance.shell("ashlar detach -v --id a --json \(place)")
        #expect(detached.status == 0 && detached.output.contains("true"), "\(place): \(detached.output)")
        let refused = try instance.shell("ashlar attach --id a --json raw:/missing \(place)")
        #expect(refused.status == 1 && refused.output.contains("notFound"), "\(place): \(refused.output)")
      }
      try instance.expectNothingLeft()
    }

    /// Whatever the umask takes away, what is made can be used by its owner, also by one without privileges.
    @Test func theOwnerKeepsHisRights() throws {
      let instance = try Instance()
      try instance.scratch.write("raw", [UInt8](repeating: 0, count: 4096))
      let outcome = try instance.shell(
        """
        set -e; cd \(instance.scratch("")); umask 777
        ashlar attach --id u raw:raw; ashlar image extract raw:raw out.raw
        stat -c '%a %n' out.raw "$ASHLAR_ROOT" "$ASHLAR_RUN" "$ASHLAR_RUN/dev" "$ASHLAR_RUN/servers" "$ASHLAR_ROOT/ashlard.log"
        ashlar detach --id u
        """)
      #expect(outcome.status == 0, "\(outcome.errors)")
      let modes = outcome.output.split(separator: "\n").filter { !$0.hasPrefix("/dev/") }.map {
        $0.split(separator: " ")[0]
      }
      #expect(modes == ["600", "700", "700", "700", "700", "600"], "\(outcome.output)")
    }

    /// Of a run directory in which no socket can be, everybody says so, and an empty one is nobody's.
    @Test func aRunDirectoryThatIsTooLongOrEmptyIsRefused() throws {
      let instance = try Instance()
      let long = "/tmp/" + String(repeating: "1", count: 100)
      for command in [
        ["ls"], ["attach", "--id", "x", config], ["daemon", "stop"], ["daemon", "status"],
        ["detach", "--id", "x"],
      ] {
        let outcome = try instance.ashlar(command + ["--run", long])
        #expect(
          outcome.status == 1 && outcome.errors.contains("Choose a shorter one (--run, ASHLAR_RUN)"),
          "\(command): \(outcome.errors)")
      }
      let doctor = try instance.ashlar("doctor", "--run", long)
      #expect(doctor.output.contains("no   run directory: \(long)"), "\(doctor.output)")
      for option in ["--run", "--root"] {
        let outcome = try instance.ashlar("ls", option, "")
        #expect(outcome.status == 2 && outcome.errors.contains("\(option) is empty"), "\(outcome.errors)")
        let manager = try Program.run(["\(Instance.programs)/ashlard", "manage", option, ""])
        #expect(manager.status == 64 && manager.errors.contains("\(option) is empty"), "\(manager.errors)")
      }
    }

    /// A directory that was removed is nobody's concern whose paths are absolute.
    @Test func absolutePathsNeedNoWorkingDirectory() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -e; cd \(instance.scratch("")); truncate -s 64K r.img; file=$PWD/r.img; mkdir gone; cd gone; rmdir ../gone
        ashlar image verify "raw:$file"; ashlar attach --id g "raw:$file"; ashlar detach --id g
        ! ashlar attach --id g raw:r.img
        """)
      #expect(outcome.status == 0 && outcome.errors.contains("the working directory"), "\(outcome.errors)")
    }

    /// Of an option that is there twice the parser would take the last one, and leave the other undone.
    @Test func anOptionThatIsThereTwiceIsRefused() throws {
      let instance = try Instance()
      for options in [
        ["--id", "d1", "--id", "d2"], ["--id=d1", "--id=d1"], ["--id", "d1", "--root", "/a", "--root=/b"],
      ] {
        let outcome = try instance.ashlar(["detach"] + options)
        #expect(
          outcome.status == 2 && outcome.errors.contains("is there twice"), "\(options): \(outcome.errors)")
      }
      #expect(try instance.ashlar("ls", "--json", "--json").status == 0)
      #expect(try instance.ashlar("inspect", "--", "--id", "--id").status == 2)
    }

    /// Who names a root means that one's journal, and the manager that runs may have another.
    @Test func anotherRootThanTheManagersIsRefused() throws {
      let instance = try Instance()
      try instance.scratch.write("raw", [UInt8](repeating: 0, count: 4096))
      _ = try instance.managerPid()
      let other = try instance.ashlar(
        "attach", "--id", "a", "--root", instance.scratch("other"), "raw:\(instance.scratch("raw"))")
      #expect(
        other.status == 1 && other.errors.contains("its root is \(instance.root), not"), "\(other.errors)")
      #expect(!FileManager.default.fileExists(atPath: instance.scratch("other")))
      // One directory has many names, and who names none takes the one that is there.
      let link = instance.scratch("a link%41 \u{E4}")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: instance.root)
      #expect(try instance.ashlar("ls", "--root", link).status == 0)
      #expect(try instance.shell("unset ASHLAR_ROOT; ashlar ls").status == 0)
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
