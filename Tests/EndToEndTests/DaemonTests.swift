import Attachments
import BlockCore
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// The manager as a process: what it keeps in RUN is removed, it is stopped, another one comes.
  @Suite struct DaemonTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")

    /// Somebody removes the socket: it is made anew, and nothing else changes.
    @Test func aRemovedSocketComesBack() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let manager = try instance.managerPid()
      for _ in 1...3 {
        unlink("\(instance.run)/ashlard.sock")
        #expect(try instance.inspect("demo").device == device)
        #expect(try instance.managerPid() == manager)
      }
      try instance.detach("demo")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(ProcessIdentity(pid: manager) == nil)
      try instance.expectNothingLeft()
    }

    /// All of RUN is removed while it is in use: this manager goes on, and the next one finds its devices, too.
    @Test func aRemovedRunDirectoryIsMadeAnew() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let manager = try instance.managerPid()
      // At once: what is made anew meanwhile would be in the way.
      try FileManager.default.moveItem(atPath: instance.run, toPath: instance.scratch("gone"))
      #expect(try instance.managerPid() == manager)
      let link = "\(instance.run)/dev/demo"
      #expect(Waiting.until { (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) == device })
      // Nobody else becomes the manager meanwhile.
      let other = try instance.shell(
        "ashlard manage --idle-exit 5 --root $ASHLAR_ROOT --run $ASHLAR_RUN", seconds: 20)
      #expect(other.status == 1 && other.errors.contains("(process \(manager))"), "\(other)")
      // A link alone, and the directory of all links.
      unlink(link)
      #expect(Waiting.until { (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) == device })
      try FileManager.default.moveItem(atPath: "\(instance.run)/dev", toPath: instance.scratch("links"))
      #expect(Waiting.until { (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) == device })
      #expect(try instance.attach("demo", config) == device)
      _ = try instance.attach("more", config)

      #expect(try instance.ashlar("daemon", "stop").status == 0)
      let infos = try instance.attachments()
      #expect(
        infos.map(\.state) == [.attached, .attached] && infos.allSatisfy { $0.problem == nil }, "\(infos)")
      #expect(try instance.inspect("demo").requests != nil)
      for id in ["demo", "more"] { try instance.detach(id) }
      try instance.expectNothingLeft()
    }

    /// A manager that is stopped: every command says so in time, names it, and what it advises helps.
    @Test func aStoppedManagerHangsNobody() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let manager = try instance.managerPid()
      kill(manager, SIGSTOP)
      defer { kill(manager, SIGCONT) }
      // Each thread stops when it is its turn.
      try #require(
        Waiting.until {
          SmallFile.entries("/proc/\(manager)/task").allSatisfy { task in
            let text = SmallFile.text("/proc/\(manager)/task/\(task)/stat") ?? ""
            return text[(text.lastIndex(of: ")") ?? text.startIndex)...].hasPrefix(") T")
          }
        })
      for command in [["ls"], ["detach", "--id", "demo"], ["inspect", "demo"], ["daemon", "status"]] {
        let outcome = try Program.run(
          [Instance.command] + command + ["--timeout", "1"], seconds: 10,
          environment: ["ASHLAR_ROOT": instance.root, "ASHLAR_RUN": instance.run])
        #expect(
          outcome.status == 1 && outcome.errors.contains("(process \(manager))"), "\(command) \(outcome)")
        #expect(outcome.errors.contains("it is stopped") && outcome.errors.contains("daemon stop --force"))
      }
      let stop = try instance.ashlar("daemon", "stop")
      #expect(stop.status == 1 && stop.errors.contains("process \(manager)"), "\(stop.errors)")
      // Without its socket it is found as well, and nobody starts others in vain.
      unlink("\(instance.run)/ashlard.sock")
      let list = try instance.ashlar("ls")
      #expect(list.status == 1 && list.errors.contains("(process \(manager))"), "\(list.errors)")
      let log = String(
        decoding: try Data(contentsOf: URL(filePath: "\(instance.root)/ashlard.log")), as: UTF8.self)
      #expect(!log.contains("another one is running"), "\(log)")
      #expect(try instance.ashlar("daemon", "stop", "--force").status == 0)
      #expect(ProcessIdentity(pid: manager) == nil)
      #expect(try instance.inspect("demo").device == device)
      try instance.detach("demo")
      try instance.expectNothingLeft()
    }

    /// Somebody else listens where the manager should, and never answers.
    @Test func aListenerThatNeverAnswersHangsNobody() throws {
      let instance = try Instance()
      try FileManager.default.createDirectory(atPath: instance.run, withIntermediateDirectories: true)
      let path = "\(instance.run)/ashlard.sock"
      let listener = try RawConnection.listen(at: path)
      defer { close(listener) }
      let outcome = try instance.ashlar("ls", "--timeout", "1")
      #expect(outcome.status == 1 && outcome.errors.contains("process \(getpid())"), "\(outcome.errors)")
      // As it is advised.
      #expect(outcome.errors.contains("remove \(path)"), "\(outcome.errors)")
      unlink(path)
      #expect(try instance.attachments() == [])
    }

    /// A manager that a command has started makes way for the service, and the service for nobody.
    @Test func theServiceTakesItsPlace() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let first = try #require(ProcessIdentity(pid: try instance.managerPid()))
      let arguments = [
        "manage", "--serve-backstores", "null", "--root", instance.root, "--run", instance.run,
      ]
      let service = Process()
      service.executableURL = URL(filePath: "\(Instance.programs)/ashlard")
      service.arguments = arguments
      service.standardError = FileHandle.nullDevice
      try service.run()
      #expect(Waiting.until { !first.isAlive })
      #expect(try instance.managerPid() == service.processIdentifier)
      #expect(try instance.inspect("demo").device == device)
      let second = try Program.run(["\(Instance.programs)/ashlard"] + arguments, seconds: 20)
      #expect(
        second.status == 1 && second.errors.contains("(process \(service.processIdentifier))"), "\(second)")
      try instance.detach("demo")
      // Killed, it has left a promise to the kernel, which shows until the next one has taken it back.
      kill(service.processIdentifier, SIGKILL)
      service.waitUntilExit()
      let note = try String(contentsOfFile: "\(instance.run)/ashlard.lock", encoding: .utf8)
      #expect(note == "\(service.processIdentifier) service\n")
      #expect(try instance.attachments() == [])
      #expect(try instance.ashlar("daemon", "stop").status == 0)
      #expect(
        try String(contentsOfFile: "\(instance.run)/ashlard.lock", encoding: .utf8).hasSuffix(" ended\n"))
    }

    /// Two managers of one ROOT, each with a RUN of its own: the second one ends before it touches what the first one has.
    @Test func aSecondManagerOfItsRootIsRefused() throws {
      let instance = try Instance()
      let device = try instance.attach("demo", config)
      let manager = try instance.managerPid()
      let server = try #require(try instance.inspect("demo").server?.pid)
      let other = instance.scratch("other")
      let manage = ["\(Instance.programs)/ashlard", "manage", "--root", instance.root, "--run", other]
      let command = [Instance.command, "ls", "--root", instance.root, "--run", other]
      for second in [manage, command] {
        let start = ContinuousClock.now
        let outcome = try Program.run(second, seconds: 30)
        #expect(outcome.status == 1 && outcome.errors.contains("(process \(manager))"), "\(outcome)")
        // Nobody waits for what will not be.
        #expect(ContinuousClock.now - start < .seconds(15))
        #expect(!FileManager.default.fileExists(atPath: "\(other)/ashlard.sock"))
      }
      let log = try String(contentsOfFile: "\(instance.root)/ashlard.log", encoding: .utf8)
      // A server that had gone over to another manager would have ended the connection of this one.
      #expect(!log.contains("demo"), "\(log)")
      let info = try instance.inspect("demo")
      #expect(info.state == .attached && info.problem == nil && info.device == device, "\(info)")
      #expect(info.server?.pid == server && info.requests != nil)
      #expect(try instance.managerPid() == manager)
      try instance.detach("demo")
      try instance.expectNothingLeft()
    }

    /// A manager that nobody asks anything looks at its sandboxes twice a second, and at nothing else.
    @Test func aManagerWithNothingToDoSleeps() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      let manager = try instance.managerPid()
      sleep(1)
      let before = wakeUps(of: manager)
      sleep(3)
      let count = wakeUps(of: manager) - before
      #expect(count < 90, "\(count) in 3 s")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// How often the threads of a process have slept.
    private func wakeUps(of pid: Int32) -> Int {
      SmallFile.entries("/proc/\(pid)/task").reduce(0) { sum, task in
        let status = SmallFile.text("/proc/\(pid)/task/\(task)/status") ?? ""
        return sum
          + (status.firstMatch(of: #/\nvoluntary_ctxt_switches:\s+(\d+)/#).flatMap { Int($0.1) } ?? 0)
      }
    }

    /// With few descriptors the manager does not spin, says so, and serves whoever comes when others have gone.
    @Test func connectionsAreBounded() throws {
      let instance = try Instance()
      #expect(try instance.shell("ulimit -n 100; ashlar daemon start").status == 0)
      let manager = try instance.managerPid()
      var idle: [RawConnection] = []
      for _ in 1...150 { idle.append(try RawConnection("\(instance.run)/ashlard.sock")) }
      let before = try ticks(of: manager)
      let outcome = try instance.ashlar("ls", "--timeout", "1")
      #expect(outcome.status == 1, "all connections are taken")
      #expect(try ticks(of: manager) - before < 20)
      let log = String(
        decoding: try Data(contentsOf: URL(filePath: "\(instance.root)/ashlard.log")), as: UTF8.self)
      #expect(log.split(separator: "\n").count { $0.contains("as many as there may be") } == 1, "\(log)")
      idle = []
      #expect(try instance.attachments() == [])
      // Too few for a FUSE connection, and the advice says which limit.
      let attach = try instance.ashlar("attach", "--id", "few", config)
      #expect(attach.status == 1 && attach.errors.contains("ulimit -n"), "\(attach.errors)")
      let doctor = try instance.shell("ulimit -n 100; ashlar doctor")
      #expect(
        doctor.output.contains("no   open files") && doctor.output.contains("ulimit -n"), "\(doctor.output)")
      try instance.expectNothingLeft()
    }

    /// Clock ticks of processor time that a process has used: fields 14 and 15 of its stat.
    private func ticks(of pid: Int32) throws -> Int {
      let text = try #require(SmallFile.text("/proc/\(pid)/stat"))
      let fields = text[text.index(after: text.lastIndex(of: ")") ?? text.startIndex)...].split(
        separator: " ")
      return (Int(fields[11]) ?? 0) + (Int(fields[12]) ?? 0)
    }

    /// Who names a root means the manager of that root.
    @Test func anotherRootsManagerIsLeftAlone() throws {
      let instance = try Instance()
      #expect(try instance.ashlar("daemon", "start").status == 0)
      let manager = try instance.managerPid()
      for verb in ["start", "status", "stop", "upgrade", "recover"] {
        let outcome = try instance.ashlar("daemon", verb, "--root", instance.scratch("other"))
        #expect(outcome.status == 1 && outcome.errors.contains("its root is"), "\(verb): \(outcome.errors)")
      }
      #expect(try instance.managerPid() == manager)
    }
  }
}
