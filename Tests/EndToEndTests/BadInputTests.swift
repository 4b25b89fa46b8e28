import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What is wrong is said in one paragraph with its remedy; the exit status is 1, and nothing is left.
  @Suite struct BadInputTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")

    /// Expects a refusal that says something, in one paragraph, and leaves nothing.
    private func expectRefusal(
      _ instance: Instance, _ outcome: Instance.Outcome, _ words: String..., remedy: String,
      _ location: SourceLocation = #_sourceLocation
    ) throws {
      #expect(outcome.status == 1 && outcome.output == "", "\(outcome.output)", sourceLocation: location)
      for word in words + [remedy] {
        #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: location)
      }
      let lines = outcome.errors.split(separator: "\n")
      #expect(
        lines.count == 1 && lines[0].hasPrefix("ashlar: "), "\(outcome.errors)", sourceLocation: location)
      #expect(
        !outcome.errors.unicodeScalars.contains { $0.value < 32 && $0 != "\n" }, sourceLocation: location)
      try instance.expectNothingLeft(location)
    }

    @Test func filesThatAreNotThereOrNotFiles() throws {
      let instance = try Instance()
      try expectRefusal(
        instance, instance.ashlar("attach", "--id", "a", "--config", "/nowhere/config.v1.json"),
        "/nowhere/config.v1.json", "No such file", remedy: "Check the path")
      for image in ["--config=/tmp", "raw:/tmp", "/tmp", "overlaybd:/tmp"] {
        try expectRefusal(
          instance, instance.ashlar("attach", "--id", "a", image), "/tmp", "directory",
          remedy: "Name the file")
      }
      for image in ["raw:/dev/null", "/dev/zero"] {
        let outcome = try instance.ashlar("attach", "--id", "a", image)
        try expectRefusal(instance, outcome, image.replacing("raw:", with: ""), remedy: ".")
      }
      let layer = instance.scratch("config.json")
      try instance.scratch.write("config.json", text: #"{"lowers": [{"file": "missing.lsmt"}]}"#)
      try expectRefusal(
        instance, instance.ashlar("attach", "--id", "a", "--config", layer), "missing.lsmt", "no such file",
        "lowers[0]",
        remedy: "Correct the layer's file")
      try instance.scratch.write("config.json", text: #"{"lowers": [{"file": "/tmp"}]}"#)
      try expectRefusal(
        instance, instance.ashlar("attach", "--id", "a", "--config", layer), "/tmp", "directory",
        remedy: "Name the file")
    }

    @Test func configurationsThatAreNone() throws {
      let instance = try Instance()
      let cases: [(text: String, words: String)] = [
        ("hello", "not JSON"), ("", "not JSON"), ("[1, 2]", "object"), (#"{"lowers": 7}"#, "lowers"),
        (#"{"lowers": [{"file": 5}]}"#, "lowers[0].file"), (#"{"lowers": []}"#, "lowers"),
        (#"{"lowers": [{"file": "x", "size": "big"}]}"#, "lowers[0].size"),
        (#"{"lowers": [{"digest": "sha256:00"}]}"#, "lowers[0]"),
        (String(repeating: "[", count: 100_000), "not JSON"),
      ]
      for (text, words) in cases {
        let path = try instance.scratch.write("config.v1.json", text: text)
        let outcome = try instance.ashlar("attach", "--id", "a", "--config", path)
        try expectRefusal(instance, outcome, "config.v1.json", words, remedy: ".")
      }
    }

    @Test func identifiersThatCannotBe() throws {
      let instance = try Instance()
      let cases: [(id: String, words: String)] = [
        ("a/b", "slash"), ("/", "slash"), ("a b", "space"), ("a\tb", "holds a"), ("a\nb", "holds a"),
        ("a\u{1B}[31mb", "control"), ("", "empty"), (".", "directory"), ("..", "directory"),
        (String(repeating: "x", count: 65), "65 bytes"), (String(repeating: "ü", count: 33), "66 bytes"),
      ]
      for (id, words) in cases {
        let outcome = try instance.ashlar("attach", "--id", id, config)
        try expectRefusal(instance, outcome, "the ID", words, remedy: "Use 1 to 64")
        for command in [["detach", "--id", id], ["inspect", "--", id], ["mount", "--", id, "/mnt"]] {
          let outcome = try instance.ashlar(command)
          #expect(outcome.status == 1 && outcome.errors.contains(words), "\(command) \(outcome.errors)")
        }
      }
      for id in [String(repeating: "x", count: 64), "ü%2F", "a?b#c", "-x", "~", "a'b\"c"] {
        _ = try instance.ashlar("attach", "--id=\(id)", config)
        #expect(try instance.attachments().map(\.id.text) == [id])
        #expect(try instance.inspectRaw(id).status == 0)
        let detach = try instance.ashlar("detach", "--id=\(id)")
        #expect(detach.status == 0, "\(detach.errors)")
        try instance.expectNothingLeft()
      }
    }

    @Test func wrongCallsHaveStatusTwo() throws {
      let instance = try Instance()
      for arguments in [
        ["attach"], ["attach", "--id", "a"], ["frobnicate"], ["attach", "--id", "a", "x", "--wat"],
      ] {
        let outcome = try instance.ashlar(arguments)
        #expect(outcome.status == 2 && outcome.output == "" && outcome.errors.contains("Usage"), "\(outcome)")
      }
      #expect(try instance.ashlar("--version").status == 0)
      #expect(try instance.ashlar("--help").output.contains("attach"))
    }

    /// Without root's rights: said before anything is started.
    @Test func noPermission() throws {
      let instance = try Instance(prefix: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
      try instance.copyPrograms()
      chmod(instance.scratch.path, 0o777)
      try instance.scratch.copyFixture("ext4")
      let image = instance.scratch("ext4/config.l2.v1.json")
      let attach = try instance.shell("ashlar attach --id a \(image)")
      #expect(attach.status == 1 && attach.errors.contains("user 65534") && attach.errors.contains("as root"))
      #expect(!FileManager.default.fileExists(atPath: instance.run))
      // What needs no rights works.
      #expect(try instance.shell("ashlar image verify \(image)").output.contains("sound"))
      #expect(try instance.shell("ashlar doctor").output.contains("auto chooses nothing"))
      let secret = try instance.scratch.write("secret.json", text: "{}")
      chmod(secret, 0o600)
      let unreadable = try instance.shell("ashlar image info \(secret)")
      #expect(
        unreadable.status == 1 && unreadable.errors.contains("Permission denied"), "\(unreadable.errors)")
      let daemon = try instance.shell("ASHLAR_ROOT=/root/x ASHLAR_RUN=/root/y ashlar daemon start")
      #expect(daemon.status == 1 && daemon.errors.contains("Permission denied"), "\(daemon.errors)")
    }

    /// A /dev of its own, without what is needed.
    @Test(arguments: [
      ("", "/dev/fuse is missing", "modprobe fuse"),
      ("mknod /dev/fuse c 10 229", "/dev/loop-control is missing", "modprobe loop"),
      // The kernel has loop devices, but none whose node is there or can be made.
      (
        "mknod /dev/fuse c 10 229; mknod /dev/loop-control c 10 237; mount -o remount,ro /dev",
        "Read-only file system", "mknod /dev/loop"
      ),
    ])
    func devicesThatAreMissing(nodes: String, cause: String, remedy: String) throws {
      let script = """
        mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && mknod /dev/zero c 1 5
        \(nodes)
        exec "$@"
        """
      let instance = try Instance(prefix: ["unshare", "-m", "bash", "-c", script, "bash"])
      let attach = try instance.ashlar("attach", "--id", "a", config)
      try expectRefusal(instance, attach, cause, remedy: remedy)
      let doctor = try instance.ashlar("doctor")
      #expect(doctor.status == (nodes.contains("loop-control") ? 0 : 1))
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// Where the nodes are not there but can be made, as in a container, they are made.
    @Test func loopNodesAreMadeWhereTheyLack() throws {
      let script = """
        mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9
        mknod /dev/fuse c 10 229; mknod /dev/loop-control c 10 237
        exec "$@"
        """
      let instance = try Instance(prefix: ["unshare", "-m", "bash", "-c", script, "bash"])
      let attach = try instance.ashlar("attach", "--id", "a", config)
      #expect(attach.status == 0 && attach.line.hasPrefix("/dev/loop"), "\(attach.errors)")
      #expect(try instance.ashlar("detach", "--id", "a").status == 0)
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      try instance.expectNothingLeft()
    }

    /// What an extraction must not touch, and what it must not leave.
    @Test func extractionIsCareful() throws {
      let instance = try Instance()
      let made = try Program.run(
        ["sh", "-c", "mkfifo fifo && ln -s target link && mkdir dir && mknod null c 1 3"],
        directory: instance.scratch.path)
      try #require(made.status == 0)
      for (name, words) in [("fifo", "neither"), ("link", "link"), ("dir", "directory"), ("null", "device")] {
        let extract = try instance.ashlar("image", "extract", "--force", config, instance.scratch(name))
        #expect(extract.status == 1 && extract.errors.contains(words), "\(extract.errors)")
      }
      #expect(try instance.ashlar("image", "extract", config, "").status == 1)
      let big = instance.scratch("big")
      let out = instance.scratch("out")
      let fill = "head -c 300M /dev/urandom > \(big) && truncate -s 2G \(big)"
      #expect(try Program.run(["sh", "-c", fill]).status == 0)
      // Called off in the middle: nothing of it stays.
      for signal in ["INT", "TERM", "HUP"] {
        let script = """
          # What runs in the background of a shell without job control ignores SIGINT.
          set -m
          ashlar image extract raw:\(big) \(out) & pid=$!
          until ls \(out).*.partial > /dev/null 2>&1; do sleep 0.01; done
          kill -\(signal) $pid; wait $pid
          """
        let outcome = try instance.shell(script)
        #expect(outcome.status == 1 && outcome.errors.contains("called off"), "\(signal) \(outcome)")
        #expect(!SmallFile.entries(instance.scratch.path).contains { $0.hasPrefix("out") })
      }
    }

    /// Names that look the same and are not; names that steer a terminal.
    @Test func namesAreTheirBytes() throws {
      let instance = try Instance()
      for name in ["n\u{E9}.img", "ne\u{301}.img"] {
        #expect(try Program.run(["truncate", "-s", "1M", instance.scratch(name)]).status == 0)
      }
      _ = try instance.attach("x", "raw:\(instance.scratch("n\u{E9}.img"))")
      let other = try instance.ashlar("attach", "--id", "x", "raw:\(instance.scratch("ne\u{301}.img"))")
      #expect(other.status == 1 && other.errors.contains("something else"), "\(other.errors)")
      try instance.detach("x")
      _ = try instance.attach("n\u{E9}", config)
      _ = try instance.attach("ne\u{301}", config)
      #expect(try instance.attachments().count == 2)
      try instance.detach("n\u{E9}")
      try instance.detach("ne\u{301}")
      let odd = instance.scratch("a\nb\u{1B}[31m.img")
      #expect(try Program.run(["truncate", "-s", "1M", odd]).status == 0)
      _ = try instance.attach("odd", "raw:\(odd)")
      let list = try instance.ashlar("ls").output
      #expect(list.split(separator: "\n").count == 2 && !list.contains("\u{1B}"))
      try instance.detach("odd")
      let path = try instance.scratch.write("nul.json", text: #"{"lowers": [{"file": "a.lsmt\u0000x"}]}"#)
      try expectRefusal(
        instance, instance.ashlar("attach", "--id", "a", path), "NUL character", remedy: "Correct")
    }

    /// A disk with no room: for what is extracted, and for the journal.
    @Test func aFullDisk() throws {
      let small = try Instance()
      let directory = small.scratch("small")
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      try #require(
        try Program.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", directory]).status == 0)
      defer { _ = try? Program.run(["umount", directory]) }
      let extract = try small.ashlar("image", "extract", config, "\(directory)/out.raw")
      #expect(extract.status == 1 && extract.errors.contains("No space left"), "\(extract.errors)")
      #expect(SmallFile.entries(directory) == [])

      _ = try Program.run(["sh", "-c", "head -c 1M /dev/zero > \(directory)/filler || true"])
      let attach = try Program.run(
        [Instance.command, "attach", "--id", "a", config],
        environment: ["ASHLAR_ROOT": "\(directory)/root", "ASHLAR_RUN": small.run])
      #expect(attach.status == 1 && attach.errors.hasPrefix("ashlar: "), "\(attach.errors)")
      #expect(
        attach.errors.contains("disk is full") && attach.errors.contains("Free some space"),
        "\(attach.errors)")
      try small.expectNothingLeft()
    }

    /// A command's descriptors do not live on in the daemon that it starts, so that pipes end.
    @Test func theDaemonHoldsNothingOfItsStarter() throws {
      let instance = try Instance()
      try instance.scratch.write("held", text: "")
      let outcome = try instance.shell(
        "exec 9>\(instance.scratch("held")); device=$(ashlar attach --id a \(config)); echo \"$device\" | cat",
        seconds: 20)
      #expect(outcome.status == 0 && outcome.line.hasPrefix("/dev/loop"), "\(outcome.errors)")
      for pid in instance.serverPids() + [try instance.managerPid()] {
        for descriptor in SmallFile.entries("/proc/\(pid)/fd") {
          let target = try? FileManager.default.destinationOfSymbolicLink(
            atPath: "/proc/\(pid)/fd/\(descriptor)")
          #expect(target != instance.scratch("held"))
        }
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd") == "/")
      }
      try instance.detach("a")
    }
  }
}
