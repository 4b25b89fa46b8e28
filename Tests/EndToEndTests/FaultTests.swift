import Attachments
import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// A failure, or the manager's sudden end, at every step of attach and detach, one after the other.
  @Suite struct FaultTests {
    private let config = Fixtures.path("ext4/config.l2.v1.json")

    /// A manager that does as the file tells it.
    private func startManager(_ instance: Instance) throws -> Process {
      let manager = Process()
      manager.executableURL = URL(filePath: "\(Instance.programs)/ashlard")
      manager.arguments = ["manage", "--attachment-fault-file", instance.scratch("fault")]
      manager.environment = ProcessInfo.processInfo.environment.merging(
        ["ASHLAR_ROOT": instance.root, "ASHLAR_RUN": instance.run]) { $1 }
      let log = instance.scratch("manager.log")
      if !FileManager.default.fileExists(atPath: log) { try instance.scratch.write("manager.log", text: "") }
      let output = try FileHandle(forWritingTo: URL(filePath: log))
      try output.seekToEnd()
      manager.standardError = output
      try manager.run()
      for _ in 0..<1000 where access("\(instance.run)/ashlard.sock", F_OK) != 0 { usleep(10_000) }
      return manager
    }

    private func arm(_ instance: Instance, _ step: Int, _ kind: String) throws {
      try instance.scratch.write("fault", text: "\(step):\(kind)")
    }

    /// Whether the fault has happened; one that has not is taken back: there were fewer steps.
    private func hasHappened(_ instance: Instance) -> Bool { unlink(instance.scratch("fault")) != 0 }

    /// Our children that have ended, and that nobody has asked how.
    private func zombies(of pid: Int32) throws -> String {
      try Program.run(["ps", "--ppid", "\(pid)", "-o", "state=,comm="]).output.split(separator: "\n")
        .filter { $0.hasPrefix("Z") }.joined(separator: ", ")
    }

    @Test func anAttachThatFailsAtAnyStepLeavesNothing() throws {
      let instance = try Instance()
      let manager = try startManager(instance)
      var step = 1
      while true {
        try arm(instance, step, "fail")
        let outcome = try instance.ashlar("attach", "--id", "fault", config)
        guard hasHappened(instance) else {
          #expect(outcome.status == 0, "\(outcome.errors)")
          break
        }
        #expect(outcome.status == 1 && outcome.errors.contains("a test has made it fail"), "step \(step)")
        try instance.expectNothingLeft()
        #expect(try zombies(of: manager.processIdentifier) == "", "step \(step)")
        step += 1
      }
      #expect(step > 12)
      try instance.detach("fault")
      try instance.expectNothingLeft()
      manager.terminate()
      manager.waitUntilExit()
    }

    @Test func aDetachThatFailsAtAnyStepCanBeRepeated() throws {
      let instance = try Instance()
      let manager = try startManager(instance)
      var step = 1
      while true {
        _ = try instance.attach("fault", config)
        try arm(instance, step, "fail")
        let outcome = try instance.ashlar("detach", "--id", "fault")
        guard hasHappened(instance) else {
          #expect(outcome.status == 0, "\(outcome.errors)")
          break
        }
        // What is left to do when its server has ended may be done without the one who asks.
        #expect(outcome.status == 0 || outcome.errors.contains("a test has made it fail"), "step \(step)")
        try instance.detach("fault")
        try instance.expectNothingLeft()
        step += 1
      }
      #expect(step > 5)
      try instance.expectNothingLeft()
      manager.terminate()
      manager.waitUntilExit()
    }

    /// The next manager finds the device whole, or makes an end of it.
    @Test(arguments: ["attach", "detach"])
    func aManagerThatDiesAtAnyStepIsFollowedByOneThatKnowsWhatToDo(verb: String) throws {
      let instance = try Instance()
      let row = try Fixtures.table("images.tsv").first { $0[0] == "ext4/config.l2.v1.json" }
      let sum = try #require(row)[2]
      var step = 1
      while true {
        let manager = try startManager(instance)
        if verb == "detach" { _ = try instance.attach("fault", config) }
        try arm(instance, step, "kill")
        let outcome = try instance.ashlar([verb, "--id", "fault"] + (verb == "attach" ? [config] : []))
        guard hasHappened(instance) else {
          #expect(outcome.status == 0, "\(outcome.errors)")
          if verb == "attach" { try instance.detach("fault") }
          manager.terminate()
          manager.waitUntilExit()
          break
        }
        manager.waitUntilExit()
        // The command that looks starts the next one.
        for info in try instance.attachments() where info.state == .attached {
          #expect(try Instance.sha256(ofDevice: #require(info.device)) == sum, "step \(step)")
        }
        let device = try instance.attach("fault", config)
        #expect(try Instance.sha256(ofDevice: device) == sum, "step \(step)")
        try instance.detach("fault")
        try instance.expectNothingLeft()
        #expect(try instance.ashlar("daemon", "stop").status == 0)
        step += 1
      }
      #expect(step > (verb == "attach" ? 12 : 5))
    }
  }
}
